// A promotion from another tenant: plan, decisions, review, commit.
import {check, same, world} from './harness.mjs'

export const promotions = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

for (const [theme, width, scripts] of [['light', 1280, true], ['light', 400, false], ['dark', 1280, false], ['dark', 400, true]]) {
	promotions[`a promotion is planned, decided, reviewed and committed, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, scripts, token: world.Tokens.operator})
		const target = `target-${theme}-${width}`
		await page.goto(`/${target}/promote`)
		await page.fill('main input[name=from]', 'staging')
		await page.keyboard.press('Enter')
		await page.waitForURL('**from=staging*')
		const said = await main(page)
		for (const part of ['1 set', '2 conflicts', '1 kept', 'never promoted']) check(said.includes(part), `the plan lacks ${part}: ${said}`)
		if (scripts) await s.axe(page, 'the plan')
		await s.picture(page, `promote-${theme}-${width}`)
		if (scripts) check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.selectOption('li:has-text("a/both") select', 'theirs')
		await page.click('button:has-text("Review")')
		await page.waitForSelector('h1:text-is("Review the promotion")')
		const review = await main(page)
		for (const part of ['1 set, 1 changed', '1 conflict left', 'a/other']) check(review.includes(part), `the review lacks ${part}: ${review}`)
		if (scripts) await s.axe(page, 'the review of the promotion')
		await s.picture(page, `promote-review-${theme}-${width}`)
		if (scripts) { // by keyboard
			await page.focus('button:has-text("Commit the promotion")')
			await page.keyboard.press('Enter')
		} else await page.click('button:has-text("Commit the promotion")')
		await page.waitForURL(`**/${target}/commits/2`)
		check((await main(page)).includes('staging@1'), 'the origin of the commit')
	}
}
