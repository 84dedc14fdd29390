// Differences below each other and side by side.
import {check, opened, same, world} from './harness.mjs'

export const diffs = {}

// sideBySide reports whether the first value that changed stands next to the one that replaced it.
const sideBySide = page => page.$eval('.sides:has(.gone):has(.come)', e => e.firstElementChild.getBoundingClientRect().top === e.lastElementChild.getBoundingClientRect().top)

for (const theme of ['light', 'dark']) {
	diffs[`the split view of differences is kept for all pages, ${theme}`] = async s => {
		const page = await s.user({theme, token: world.Tokens.writer})
		await page.goto('/acme/commits/57')
		check(!await sideBySide(page), 'the view at first')
		await page.check('#diff-split')
		check(await sideBySide(page), 'the view that was chosen')
		await s.axe(page, 'the split view')
		await s.picture(page, `split-${theme}`)
		for (const path of ['/acme/compare?from=@20&to=@57', '/acme@20/rollback', '/acme/keys/paramconfig/db/pool']) {
			await page.goto(path)
			if (await page.locator('.sides:has(.gone):has(.come)').count()) check(await sideBySide(page), `the view of ${path}`)
		}
		await page.goto('/acme/keys/paramconfig/db/pool?edit=1')
		await page.fill('textarea[name=value]', `{"max":"${theme}"}`)
		await page.click('form.write button:has-text("Review")')
		await opened(page, 'h1:text-is("Review")')
		check(await sideBySide(page), 'the view of a review')
		await page.check('input[name=diff][value=unified]')
		check(!await sideBySide(page), 'the view of the review that was chosen')
		await page.goto('/acme/commits/57')
		check(!await sideBySide(page), 'the unified view is not kept')
	}

	diffs[`a phone shows differences below each other, ${theme}`] = async s => {
		const page = await s.user({theme, width: 400, token: world.Tokens.reader})
		await page.goto('/acme/commits/57?diff=split')
		check(!await sideBySide(page), 'the view')
		same(await page.isVisible('#diff-split'), false, 'the switch')
	}
}

diffs['the split view works without scripts'] = async s => {
	const page = await s.user({scripts: false, token: world.Tokens.reader})
	await page.goto('/acme/commits/57')
	await page.check('#diff-split')
	check(await sideBySide(page), 'the view that was chosen')
	await page.click('a:text-is("Always split")')
	await page.goto('/acme/commits/53')
	check(await sideBySide(page), 'the view is not kept')
	await page.click('a:text-is("Always unified")')
	check(!await sideBySide(page), 'the unified view')
}
