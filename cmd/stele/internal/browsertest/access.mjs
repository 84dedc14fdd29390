// Grants, tokens and recorded reads.
import {check, login, same, world} from './harness.mjs'

export const access = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

// seen checks what a user sees on the page, and takes a picture.
async function seen(s, page, what, picture, width) {
	await s.axe(page, what)
	await s.picture(page, picture)
	check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
}

for (const [theme, width, scripts] of [['light', 1280, true], ['dark', 1280, true], ['light', 400, true], ['dark', 400, true], ['light', 1280, false]]) {
	const name = `${theme}-${width}${scripts ? '' : '-plain'}`
	access[`grants are previewed, set and removed, ${name}`] = async s => {
		const page = await s.user({scripts, theme, width, token: world.Tokens.operator})
		const path = `/granted-${name}/access`
		await page.goto(path)
		await page.click('.tabs a:has-text("Grants")')
		check((await main(page)).includes('has no grants'), await main(page))
		await page.fill('form.write input[name=subjects]', 'ann')
		await page.check('form.write input[name=operation][value=write]')
		await page.fill('form.write input[name=prefixes]', 'a/')
		if (scripts) await s.picture(page, `grants-${name}`)
		await page.click('form.write button:has-text("Review")')
		await page.waitForSelector('h1:text-is("Review the grants")')
		check(/ann .*write .*2 keys under a\/ .*no keys/.test(await main(page)), await main(page))
		if (scripts) await seen(s, page, 'the review of grants', `grants-review-${name}`, width)
		await page.fill('input[name=message]', 'for ann')
		await page.click('button:has-text("Commit")')
		await page.waitForURL('**written=*')
		check((await main(page)).includes('in force'), await main(page))
		await page.fill('form.filters input[name=subject]', 'ann')
		await page.click('form.filters button:has-text("Ask")')
		await page.waitForURL('**subject=ann*')
		check((await main(page)).includes('write: 2 keys under a/'), await main(page))
		if (scripts) {
			await s.axe(page, 'the grants')
			await s.picture(page, `grants-set-${name}`)
		}
		await page.click('button:has-text("Remove …")')
		await page.waitForSelector('h1:text-is("Review the grants")')
		await page.focus('input[name=message]')
		await page.keyboard.press('Enter')
		await page.waitForURL('**written=*')
		check((await main(page)).includes('only operators have access'), await main(page))
	}

	access[`tokens are minted and revoked, ${name}`] = async s => {
		const page = await s.user({scripts, theme, width, token: world.Tokens.operator})
		const path = `/tokens-${name}/access/tokens`
		await page.goto(path)
		await page.fill('input[name=subject]', `kim-${name}`)
		await page.check('input[name=role][value=reader]')
		await page.click('button:text-is("Mint")')
		const token = await page.inputValue('textarea[readonly]')
		const subject = (await page.textContent('.note.good strong')).replace('Token of ', '')
		check(subject.endsWith(`/kim-${name}`), subject)
		if (scripts) await seen(s, page, 'the token', `token-${name}`, width)
		const kim = await s.user({scripts: false})
		await login(kim, token)
		same((await kim.goto(`/tokens-${name}/keys/`)).status(), 200, 'the page of the token')
		await page.fill('input[name=revoked-subject]', subject)
		await page.click('form:has(input[name=revoked-subject]) button:text-is("Review")')
		await page.waitForSelector('h1:has-text("Review the revoked tokens")')
		check((await main(page)).includes(`All tokens of ${subject}`), await main(page))
		await page.click('button:has-text("Commit")')
		await page.waitForURL('**written=*')
		if (scripts) await s.axe(page, 'the revoked tokens')
		await kim.goto(`/tokens-${name}/keys/`)
		check(new URL(kim.url()).pathname === '/login', 'a revoked token is accepted')
	}

	access[`recorded reads are selected and exported, ${name}`] = async s => {
		const page = await s.user({scripts, theme, width, token: world.Tokens.operator})
		await page.goto('/reviewed/keys/a/one')
		await page.goto('/reviewed/access/reads')
		await page.fill('input[name=method]', 'config/get')
		await page.click('button:has-text("Select")')
		await page.waitForURL('**method=config*')
		check((await main(page)).includes('operator'), await main(page))
		if (scripts) await seen(s, page, 'the recorded reads', `reads-${name}`, width)
		const [file] = await Promise.all([page.waitForEvent('download'), page.click('button:has-text("Export")')])
		same(file.suggestedFilename(), 'reviewed-reads.csv', 'the file')
	}
}
