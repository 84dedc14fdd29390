// Takes a screenshot of every page in both themes, wide and narrow, and those of docs/console.md.
import {join} from 'node:path'
import {run, world} from './harness.mjs'
import {pages} from './pages.mjs'

const scenarios = {}
for (const theme of ['light', 'dark']) {
	for (const width of [1280, 400]) {
		scenarios[`${theme} ${width}`] = async s => {
			const page = await s.user({theme, width, height: width === 400 ? 800 : 860, token: world.Tokens.operator})
			const anonymous = await s.user({theme, width})
			for (const [name, path] of Object.entries(pages)) {
				const p = path.startsWith('/login') ? anonymous : page
				s.allowed = ['404', '403', '400', '401']
				await p.goto(path)
				await p.waitForTimeout(300)
				await p.screenshot({path: join(world.Folder, `${name}-${theme}-${width}.png`), fullPage: width === 400})
			}
		}
	}
}

// The pictures of docs/console.md, by their names in docs/images.
scenarios['documentation'] = async s => {
	const page = await s.user({height: 760, token: world.Tokens.operator})
	const take = async (name, height = 760) => {
		await page.waitForTimeout(300)
		await page.screenshot({path: join(world.Folder, `console-${name}.png`), clip: {x: 0, y: 0, width: 1280, height}})
	}
	await page.goto('/acme@45/keys/paramconfig/db/pool')
	await take('key')
	await page.goto('/acme/keys/paramconfig/db/pool?edit=1')
	await page.fill('textarea[name=value]', '{"min":4,"max":80,"hosts":["db-1","db-56","db-57"],"options":{"tls":true,"retries":3}}')
	await page.fill('form.write input[name=message]', 'a third host for the sale')
	await page.click('form.write button:has-text("Review")')
	await page.waitForSelector('h1:text-is("Review")')
	await page.check('#diff-split')
	await page.evaluate(() => document.activeElement.blur())
	await take('review')
	await page.goto('/acme@20/rollback')
	await take('rollback')
	await page.goto('/acme/promote?from=globex')
	await take('promotion')
	await page.goto('/fleet')
	await page.waitForSelector('svg.spark polyline', {state: 'attached'})
	await take('fleet', 400) // without the changes, of which one is hostile
}
await run(scenarios)
