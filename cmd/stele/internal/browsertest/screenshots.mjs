// Takes a screenshot of every page in both themes, wide and narrow.
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
await run(scenarios)
