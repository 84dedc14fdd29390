// The JSON editor.
import {check, commit, inEditor, opened, same, tab, world} from './harness.mjs'

export const editor = {}

const key = '/edited/keys/a/value'
const text = '{\n  "big": 12345678901234567890123,\n  "exact": 1.10,\n  "on": true,\n  "name": "text"\n}'

for (const [theme, width, keyboard] of [['light', 1280, false], ['dark', 400, false], ['dark', 1280, true], ['light', 400, true]]) {
	editor[`values are edited with colors, and errors have a line and column, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto(key)
		if (keyboard) {
			await tab(page, 'a', 'Edit')
			await page.keyboard.press('Enter')
		} else await page.click('a:text-is("Edit")')
		await inEditor(page)
		same(await page.inputValue('textarea[name=value]'), text, 'the text')
		const color = part => page.evaluate(part => {
			const root = document.querySelector('.json-editor').shadowRoot
			return getComputedStyle([...root.querySelectorAll('.cm-line span')].find(e => e.textContent.includes(part))).color
		}, part)
		check(await color('1234') !== await color('text'), 'numbers and strings have the same color')
		await s.axe(page, 'the editor')
		await s.picture(page, `editor-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.keyboard.press('Control+End')
		await page.keyboard.type(' x')
		await page.waitForSelector('.json-editor + .problem:has-text("Line 6, column 3")')
		await s.picture(page, `editor-error-${theme}-${width}`)
		await page.keyboard.press('Control+Z')
		await page.waitForFunction(() => document.querySelector('.json-editor + .problem').textContent === '')
		await page.keyboard.press('Control+A')
		await page.keyboard.insertText('{"a":[1.10,12345678901234567890123,{}],"b,{":[],"c":"\\"{,x"}')
		if (keyboard) await page.keyboard.press('Shift+Alt+F')
		else await page.click('button:text-is("Format")')
		same(await page.inputValue('textarea[name=value]'), '{\n  "a": [\n    1.10,\n    12345678901234567890123,\n    {}\n  ],\n  "b,{": [],\n  "c": "\\"{,x"\n}', 'the text after Format')
		const questions = []
		page.on('dialog', d => { questions.push(d.message()); d.accept() })
		await page.keyboard.press('Escape')
		await page.waitForURL(u => u.pathname === key && !u.search)
		same(questions.join(), 'Discard what you typed?', 'the question before the form is left')
	}
}

editor['Ctrl+Enter reviews and commits, and big numbers stay exact'] = async s => {
	const page = await s.user({token: world.Tokens.operator})
	await page.goto(key + '?edit=1')
	await page.click('.json-editor .cm-content')
	await page.keyboard.press('Control+A')
	await page.keyboard.insertText('{"big": 98765432109876543210, "exact": 2.50}')
	await page.keyboard.press('Control+Enter')
	await opened(page, 'h1:text-is("Review")')
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

editor['a value of 445 KiB is edited and saved on a machine four times slower'] = async s => {
	const page = await s.user({token: world.Tokens.operator})
	const session = await page.context().newCDPSession(page)
	await session.send('Performance.enable', {timeDomain: 'threadTicks'})
	await session.send('Emulation.setCPUThrottlingRate', {rate: 4})
	const begun = Date.now()
	await page.goto('/large/keys/a/value?edit=1', {waitUntil: 'commit'})
	await inEditor(page)
	await page.keyboard.type(' ') // JSON may begin with it
	await page.waitForFunction(() => document.querySelector('.json-editor').shadowRoot.querySelector('.cm-line').textContent === ' {')
	const {metrics} = await session.send('Performance.getMetrics')
	s.log.push(`typed text appears after ${Date.now() - begun} ms, with ${Math.round(metrics.find(m => m.name === 'TaskDuration').value * 1000)} ms of the main thread`)
	await page.waitForFunction(() => document.querySelector('textarea[name=value]').value.startsWith(' {')) // once typing rests
	const text = await page.inputValue('textarea[name=value]')
	check(text.length > 700_000 && text.startsWith(' {'), `the form has ${text.length} characters`)
	await page.keyboard.press('Control+End')
	await page.keyboard.press('ArrowLeft')
	await page.keyboard.press('ArrowLeft')
	await page.keyboard.type('2')
	await page.fill('form.write input[name=message]', 'one number')
	await commit(page)
	await page.waitForURL('**written=2')
	const raw = await page.context().request.get(world.URL + '/large/raw/a/value')
	check((await raw.text()).endsWith('"n":12}'), 'the stored value')
}
