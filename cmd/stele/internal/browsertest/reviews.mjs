// Changes are reviewed before they are committed, one or several at a time.
import {check, same, world} from './harness.mjs'

export const reviews = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

for (const [theme, width] of [['light', 1280], ['dark', 400]]) {
	reviews[`a change is reviewed before it is committed, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto('/reviewed/keys/a/one?edit=1')
		await page.fill('textarea[name=value]', `"${theme} ${width}"`)
		await page.click('form.write button:has-text("Review")')
		await page.waitForSelector('h1:text-is("Review")')
		const said = await main(page)
		for (const part of [`is: "${theme} ${width}"`, 'Nothing is written yet', 'Schemas satisfied a', 'Sinks files']) check(said.includes(part), `the review lacks ${part}: ${said}`)
		await s.axe(page, 'the review')
		await s.picture(page, `review-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.click('button:has-text("Back to the form")')
		same(await page.inputValue('textarea[name=value]'), `"${theme} ${width}"`, 'the text after Back')
		await page.click('form.write button:has-text("Review")')
		await page.waitForSelector('h1:text-is("Review")')
		await page.fill('form.write input[name=message]', 'reviewed')
		await page.click('form.write button:has-text("Commit")')
		await page.waitForURL('**written=*')
	}

	reviews[`changes of several pages are one commit, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		const tenant = `collected-${theme}-${width}`
		await page.goto(`/${tenant}/keys/a/one?edit=1`)
		await page.fill('textarea[name=value]', '"one, collected"')
		await page.click('button:has-text("Add to change set")')
		await page.waitForSelector('[data-changed-key]:visible')
		same(await page.innerText('#cart .count'), '1', 'the counter')
		await page.goto(`/${tenant}/delete/a/two`)
		await page.click('button:has-text("Add to change set")')
		await page.waitForFunction(() => document.querySelector('#cart .count').textContent === '2')
		await page.goto(`/${tenant}/new/a/`)
		await page.fill('input[name=key]', 'a/three')
		await page.fill('textarea[name=value]', '3')
		await page.click('button:has-text("Add to change set")')
		await page.waitForFunction(() => document.querySelector('#cart .count').textContent === '3')
		await page.click('#cart')
		await page.waitForFunction(() => document.querySelectorAll('.change-row').length === 3)
		await s.axe(page, 'the change set')
		await s.picture(page, `changes-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.click('button:has-text("Review")')
		check((await main(page)).includes('1 set, 1 changed, 1 deleted'), await main(page))
		await s.axe(page, 'the review of the change set')
		await s.picture(page, `changes-review-${theme}-${width}`)
		await page.fill('input[name=message]', 'three at once')
		await page.click('button:has-text("Commit 3 changes")')
		await page.waitForURL(`**/${tenant}/commits/2?committed=*`)
		check((await main(page)).includes('3 changes'), 'the commit')
		same(await page.innerText('#cart .count'), '', 'the counter after the commit')
	}
}

reviews['a change set is typed, reviewed and committed without scripts'] = async s => {
	const page = await s.user({scripts: false, token: world.Tokens.writer})
	await page.goto('/acme/keys/tenantconfig/checkout/timeout_ms?edit=1')
	await page.fill('textarea[name=value]', '777')
	await page.click('button:has-text("Add to change set")')
	same(await page.locator('main .change-row').count(), 1, 'rows')
	await page.click('button:has-text("Add a key")')
	await page.locator('main input[name=key]').nth(1).fill('tenantconfig/typed')
	await page.locator('main textarea[name=value]').nth(1).fill('"typed"')
	await page.click('button:has-text("Review")')
	check((await main(page)).includes('1 set, 1 changed'), await main(page))
	await page.fill('input[name=message]', 'two without scripts')
	await page.click('button:has-text("Commit 2 changes")')
	check(/\/acme\/commits\/\d+/.test(page.url()), page.url())
}

reviews['a change set is kept by its tab only'] = async s => {
	const page = await s.user({token: world.Tokens.operator})
	await page.goto('/reviewed/new/')
	await page.fill('input[name=key]', 'a/collected')
	await page.fill('textarea[name=value]', '"confidential"')
	await page.click('button:has-text("Add to change set")')
	await page.waitForFunction(() => document.querySelector('#cart .count').textContent === '1')
	await page.reload()
	same(await page.innerText('#cart .count'), '1', 'the counter after the page is loaded again')
	same(await page.evaluate(() => JSON.stringify(localStorage)), '{}', 'what the browser keeps')
	const other = await page.context().newPage()
	await other.goto('/reviewed/keys/')
	same(await other.innerText('#cart .count'), '', 'the counter of another tab')
	await page.evaluate(() => sessionStorage.clear())
}

reviews['logging out discards the change set, if the user agrees'] = async s => {
	const page = await s.user({token: world.Tokens.operator})
	const questions = []
	page.on('dialog', d => { questions.push(d.message()); d.accept() })
	await page.goto('/reviewed/new/')
	await page.fill('input[name=key]', 'a/collected')
	await page.fill('textarea[name=value]', '"confidential"')
	await page.click('button:has-text("Add to change set")')
	await page.waitForFunction(() => document.querySelector('#cart .count').textContent === '1')
	await page.click('.menu summary')
	await page.click('button:has-text("Log out")')
	await page.waitForURL('**/login')
	same(questions.join(), 'Log out and discard the change set?', 'the question')
	check(!(await page.evaluate(() => JSON.stringify({...sessionStorage, ...localStorage}))).includes('confidential'), 'the browser keeps the change set')
}
