// Pages follow the gateway while they are open, and move through time.
import {check, commit, same, world, positionOf} from './harness.mjs'

const key = '/acme/keys/tenantconfig/live'
const slider = '#time input[type=range]'

// set sets the value of the key, with a browser of its own.
async function set(s, value) {
	const page = await s.user({scripts: false, token: world.Tokens.writer})
	await page.goto(key + '?edit=1')
	await page.fill('textarea[name=value]', value)
	await page.fill('form.write input[name=message]', `now ${value}`)
	await commit(page)
	await page.waitForURL('**written=*')
}

const shows = (page, value) => page.waitForFunction(v => document.querySelector('pre.value')?.textContent === v, value)

export const live = {
	'eight windows of a browser load and are updated': async s => {
		const first = await s.user({token: world.Tokens.reader}), windows = [first]
		const streams = []
		first.context().on('request', r => { if (r.url().includes('/-/live')) streams.push(r.url()) })
		for (let i = 0; i < 7; i++) windows.push(await first.context().newPage())
		for (const page of windows) await page.goto(key)
		await set(s, '"in eight windows"')
		for (const page of windows) await shows(page, '"in eight windows"')
		check(streams.length <= 1, `${streams.length} streams of pages`)
	},

	'text that is typed while an update is received is kept': async s => {
		const page = await s.user({token: world.Tokens.writer})
		const typed = '/acme/keys/paramconfig/db/pool'
		await page.goto(typed + '?edit=1')
		await page.evaluate(() => document.activeElement.blur())
		let received
		const asked = new Promise(ask => page.route(u => u.pathname === typed, route => { received = () => route.continue(); ask() }))
		await set(s, '"while typing"')
		await asked
		await page.fill('textarea[name=value]', '{"typed": true}')
		await received()
		await page.waitForSelector('#news:has-text("while typing")')
		same(await page.inputValue('textarea[name=value]'), '{"typed": true}', 'the text')
	},

	'relative times advance while a page is open': async s => {
		const page = await s.user({token: world.Tokens.reader})
		await page.clock.install()
		await page.goto(key)
		const when = () => page.innerText('.facts time[data-ago]')
		check(/now| s ago|minute/.test(await when()), await when())
		await page.clock.fastForward('03:00:00')
		await page.waitForFunction(() => document.querySelector('.facts time[data-ago]').textContent === '3 hours ago')
	},

	'a page shows that the gateway cannot be reached, and recovers': async s => {
		s.allowed.push('ERR_CONNECTION_REFUSED', 'ERR_CONNECTION_RESET', 'ERR_EMPTY_RESPONSE', 'htmx:') // the page asks for its sinks as well
		const proxy = await s.proxy()
		const page = await s.user({theme: 'dark', width: 400, token: world.Tokens.reader, origin: proxy.origin}), other = await page.context().newPage()
		await page.goto(key)
		await other.goto('/acme/history/')
		await page.waitForSelector('#newest[aria-current]')
		await proxy.cut()
		for (const p of [page, other]) {
			await p.waitForSelector('#connection:has-text("cannot be reached")')
			same(await p.locator('#newest[aria-current]').count(), 0, 'newest is shown as current')
		}
		await s.picture(page, 'unreachable-dark-400')
		await page.keyboard.press('[') // nothing to show: the page stays
		await page.waitForSelector('#connection:has-text("cannot be reached")')
		await set(s, '"meanwhile"')
		await proxy.restore()
		await shows(page, '"meanwhile"')
		for (const p of [page, other]) {
			await p.waitForSelector('#connection', {state: 'hidden'})
			await p.waitForSelector('#newest[aria-current]')
		}
	},

	'the brackets step through the versions of a key': async s => {
		const page = await s.user({token: world.Tokens.reader})
		await page.goto('/acme/keys/paramconfig/db/pool') // every fourth commit sets it
		const at = () => Number(new URL(page.url()).pathname.match(/@(\d+)/)?.[1] ?? 0)
		const press = async (name, revision) => {
			await page.keyboard.press(name)
			await page.waitForURL(u => u.pathname === `/acme${revision ? '@' + revision : ''}/keys/paramconfig/db/pool`)
			same(at(), revision, `the revision after ${name}`)
		}
		await press('[', 53)
		await press('[', 49)
		await press(']', 53)
		await press(']', 57)
		await press(']', 0)
		const plain = await s.user({scripts: false, token: world.Tokens.reader})
		await plain.goto('/acme@49/keys/paramconfig/db/pool')
		await plain.click('[data-versions] [rel=next]')
		same(new URL(plain.url()).pathname, '/acme@53/keys/paramconfig/db/pool', 'the next version without scripts')
	},

	'copying works over plain HTTP': async s => {
		s.allowed.push('Cross-Origin-Opener-Policy') // browsers ignore it without TLS
		const origin = `http://stele.test:${new URL(world.URL).port}`
		const page = await s.user({token: world.Tokens.reader, origin})
		await page.goto('/acme/history/')
		check(await page.evaluate(() => !window.isSecureContext && !navigator.clipboard), 'the context is secure')
		await page.click('footer [data-copy]')
		await page.waitForSelector('footer [data-copy]:has-text("Copied")')
		await page.focus('input[name=author]')
		await page.keyboard.press('Control+V')
		same(await page.inputValue('input[name=author]'), 'stele -t acme log', 'the pasted text')
	},

	'Back returns to the moment before the slider was moved': async s => {
		const page = await s.user({token: world.Tokens.reader})
		const url = '/keys/tenantconfig/checkout/timeout_ms'
		await page.goto('/acme' + url)
		// A drag over several revisions, each of which is shown, and its release.
		const drag = (to, last) => page.$eval(slider, (e, [to, last]) => {
			e.value = to
			e.dispatchEvent(new Event('input', {bubbles: true}))
			if (last) e.dispatchEvent(new Event('change', {bubbles: true}))
		}, [to, last])
		await drag(await positionOf(page, 40), false)
		await page.waitForURL('**/acme@40' + url)
		await drag(await positionOf(page, 20), true)
		await page.waitForURL('**/acme@20' + url)
		await page.focus(slider)
		await page.keyboard.press('Home')
		await page.waitForURL('**/acme@1' + url)
		await page.goBack()
		await page.waitForURL('**/acme@20' + url)
		await page.waitForFunction(() => document.querySelector('pre.value').textContent === '440')
		await page.goBack()
		await page.waitForURL(u => u.pathname === '/acme' + url)
	},

	'Back returns to a part of a page': async s => {
		const page = await s.user({token: world.Tokens.reader})
		const value = n => page.waitForFunction(n => document.querySelector('pre.value').textContent === n, n)
		await page.goto('/acme@20/keys/tenantconfig/checkout/timeout_ms')
		await page.focus('a.skip')
		await page.keyboard.press('Enter')
		await page.waitForURL('**#page')
		await page.focus(slider)
		await page.keyboard.press('Home')
		await page.waitForURL(u => u.pathname.startsWith('/acme@1/'))
		await value('250')
		await page.goBack()
		await page.waitForURL('**/acme@20/**#page')
		await value('440')
		await page.goBack()
		await page.waitForURL(u => u.pathname.startsWith('/acme@20/') && !u.hash)
		await value('440')
		await page.goForward()
		await page.goForward()
		await page.waitForURL(u => u.pathname.startsWith('/acme@1/'))
		await value('250')
	},
}
