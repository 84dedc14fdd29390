// Tasks with the keyboard only, from the top of each page.
import {check, inEditor, opened, same, tab, world} from './harness.mjs'

export const keyboard = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

// reason types the reason in the field that has the focus, and commits.
async function reason(page, text) {
	await page.waitForFunction(() => document.activeElement.name === 'message')
	await page.keyboard.press('Control+A')
	await page.keyboard.type(text)
	await page.keyboard.press('Enter')
}

// collect adds the change of a key to the change set, which leads to the page of the key.
async function collect(page, key, count) {
	await tab(page, 'button', 'Add to change set')
	await page.keyboard.press('Enter')
	await page.waitForURL(u => u.pathname === key && !u.search)
	same(await page.textContent('#cart .count'), count, 'the counter')
}

for (const [theme, width] of [['dark', 1280], ['light', 400]]) {
	const tenant = `keyboard-${theme}-${width}`

	keyboard[`a change set, a comparison and a copy by keyboard, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto(`/${tenant}/keys/a/one`)
		await tab(page, 'a', 'Edit')
		await page.keyboard.press('Enter')
		await inEditor(page)
		await page.keyboard.press('Control+A')
		await page.keyboard.type('"typed"')
		await collect(page, `/${tenant}/keys/a/one`, '1')
		await page.goto(`/${tenant}/delete/a/two`)
		await collect(page, `/${tenant}/keys/a/two`, '2')
		await tab(page, '#cart')
		await page.keyboard.press('Enter')
		await page.waitForFunction(() => document.querySelectorAll('.change-row').length === 2)
		await tab(page, 'button', 'Review')
		await page.keyboard.press('Enter')
		await reason(page, 'by keyboard')
		await page.waitForURL(`**/${tenant}/commits/2?committed=*`)

		await page.goto(`/${tenant}/compare`)
		await tab(page, 'input[name=from]')
		await page.keyboard.type('@1')
		await page.keyboard.press('Enter')
		await page.waitForURL('**from=*')
		if (width > 400) {
			await tab(page, 'input[name=diff]')
			await page.keyboard.press('ArrowRight')
			check(await page.isChecked('#diff-split'), 'the split view')
		}
		await tab(page, 'input[name=key][value="a/one"]')
		await page.keyboard.press('Space')
		await tab(page, 'button', 'Set the chosen keys back to @1')
		await page.keyboard.press('Enter')
		await page.waitForSelector('h1:has-text("Review 1 change")')
		await tab(page, 'button', 'Commit 1 change')
		await page.keyboard.press('Enter')
		await page.waitForURL(`**/${tenant}/commits/3`)
		check((await main(page)).includes('1 change'), await main(page))
	}

	keyboard[`search, the palette and a grant by keyboard, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto(`/${tenant}/search`)
		await tab(page, 'input[name=q]')
		await page.keyboard.type('three')
		await page.keyboard.press('Enter')
		await opened(page, 'table.matches')
		await page.keyboard.press('Control+K')
		await page.keyboard.type('a/three')
		await page.waitForSelector('#palette a:has-text("a/three")')
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the palette is too wide')
		await s.picture(page, `palette-${theme}-${width}`)
		await page.keyboard.press('ArrowDown')
		await page.keyboard.press('Enter')
		await page.waitForURL(`**/${tenant}/keys/a/three`)

		await page.goto(`/${tenant}/access/grants`)
		await tab(page, 'form.write input[name=subjects]')
		await page.keyboard.type('ann')
		await tab(page, 'form.write input[name=operation][value=write]')
		await page.keyboard.press('Space')
		await tab(page, 'form.write button', 'Review')
		await page.keyboard.press('Enter')
		await page.waitForSelector('h1:text-is("Review the grants")')
		if (await page.evaluate(() => document.activeElement.name) !== 'message') await tab(page, 'input[name=message]')
		await reason(page, 'for ann')
		await page.waitForURL('**written=*')
		same(await page.locator('table tbody th:has-text("ann")').count(), 1, 'grants')
	}

	keyboard[`a rollback and its undoing by keyboard, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		const tenant = `rolled-${theme}-${width}`
		await page.goto(`/${tenant}/rollback`)
		await tab(page, 'main input[name=to]')
		await page.keyboard.type('@1')
		await page.keyboard.press('Enter')
		await page.waitForURL('**to=*')
		await tab(page, 'input[name=message]')
		await page.keyboard.type('by keyboard')
		await page.keyboard.press('Enter')
		await page.waitForURL('**done=3')
		check((await main(page)).includes(`${tenant}@3 is what ${tenant}@1 was`), await main(page))
		await s.axe(page, 'the result of the rollback')
		await tab(page, 'main a', 'Undo')
		await page.keyboard.press('Enter')
		await page.waitForURL('**/revert')
		await tab(page, 'button', 'Revert')
		await page.keyboard.press('Enter')
		await page.waitForURL(`**/${tenant}/commits/4`)
	}

	keyboard[`a token and recorded reads by keyboard, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		const subject = `lee-${theme}-${width}`
		await page.goto(`/${tenant}/keys/a/three`)
		await page.goto(`/${tenant}/access/tokens`)
		await tab(page, 'input[name=subject]')
		await page.keyboard.type(subject)
		await tab(page, 'input[name=role][value=reader]')
		await page.keyboard.press('Space')
		await tab(page, 'button', 'Mint')
		await page.keyboard.press('Enter')
		await page.waitForSelector('textarea[readonly]')
		await tab(page, 'input[name=revoked-subject]')
		await page.keyboard.type(subject)
		await page.keyboard.press('Enter')
		await page.waitForSelector('h1:has-text("Review the revoked tokens")')
		await page.waitForFunction(() => document.activeElement.textContent === 'Commit')
		await page.keyboard.press('Enter')
		await page.waitForURL('**written=*')
		check((await main(page)).includes(subject), await main(page))

		await tab(page, '.tabs a', 'Recorded reads')
		await page.keyboard.press('Enter')
		await page.waitForURL('**/access/reads')
		await tab(page, 'input[name=method]')
		await page.keyboard.type('config/get')
		await page.keyboard.press('Enter')
		await page.waitForURL('**method=config*')
		check((await main(page)).includes('a/three'), await main(page))
	}
}
