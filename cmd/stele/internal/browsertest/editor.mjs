// The JSON editor.
import {check, same, world} from './harness.mjs'

export const editor = {}

const key = '/edited/keys/a/value'
const text = '{\n  "big": 12345678901234567890123,\n  "exact": 1.10,\n  "on": true,\n  "name": "text"\n}'

for (const [theme, width] of [['light', 1280], ['dark', 400]]) {
	editor[`values are edited with colors, and errors have a line and column, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto(key + '?edit=1')
		await page.waitForSelector('.json-editor .cm-content')
		same(await page.inputValue('textarea[name=value]'), text, 'the text')
		const color = part => page.evaluate(part => {
			const root = document.querySelector('.json-editor').shadowRoot
			return getComputedStyle([...root.querySelectorAll('.cm-line span')].find(e => e.textContent.includes(part))).color
		}, part)
		check(await color('1234') !== await color('text'), 'numbers and strings have the same color')
		await s.axe(page, 'the editor')
		await s.picture(page, `editor-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.click('.json-editor .cm-content')
		await page.keyboard.press('Control+End')
		await page.keyboard.type(' x')
		await page.waitForSelector('.json-editor + .problem:has-text("Line 6, column 3")')
		await s.picture(page, `editor-error-${theme}-${width}`)
		await page.keyboard.press('Control+Z')
		await page.waitForFunction(() => document.querySelector('.json-editor + .problem').textContent === '')
	}
}

editor['Ctrl+Enter reviews and commits, and big numbers stay exact'] = async s => {
	const page = await s.user({token: world.Tokens.operator})
	await page.goto(key + '?edit=1')
	await page.click('.json-editor .cm-content')
	await page.keyboard.press('Control+A')
	await page.keyboard.insertText('{"big": 98765432109876543210, "exact": 2.50}')
	await page.keyboard.press('Control+Enter')
	await page.waitForSelector('h1:text-is("Review")')
	await page.fill('input[name=message]', 'exact numbers')
	await page.keyboard.press('Control+Enter')
	await page.waitForURL('**written=*')
	same(await page.innerText('pre.value'), '{\n  "big": 98765432109876543210,\n  "exact": 2.50\n}', 'the value')
	const raw = await page.context().request.get(world.URL + '/edited/raw/a/value')
	same(await raw.text(), '{"big":98765432109876543210,"exact":2.50}', 'the stored value')
}

editor['a form has a plain field without scripts'] = async s => {
	const page = await s.user({scripts: false, token: world.Tokens.operator})
	await page.goto(key + '?edit=1')
	check(await page.isVisible('textarea[name=value]'), 'no field')
	same(await page.locator('.json-editor').count(), 0, 'editors')
}
