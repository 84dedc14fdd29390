// Shared by all scenarios: one browser, a context per user, and the rules for every page.
import {createRequire} from 'node:module'
import {readFileSync} from 'node:fs'
import {connect, createServer} from 'node:net'
import {join} from 'node:path'

const require = createRequire(join(process.env.MODULES, 'index.js'))
const {chromium} = require('playwright-core')
const axeScript = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

export const input = JSON.parse(process.env.INPUT)
export const world = input.world

export function check(ok, what) {
	if (!ok) throw new Error(what)
}

export function same(got, want, what) {
	check(got === want, `${what}: ${JSON.stringify(got)}, not ${JSON.stringify(want)}`)
}

// Scenario is one test. Its pages must not load anything from other sites, log an error,
// or violate the content security policy.
class Scenario {
	log = []
	broken = []
	allowed = [] // parts of messages that the scenario expects
	contexts = []
	ends = []
	constructor(browser) {
		this.browser = browser
	}

	// user opens a page in a browser context of its own, logged in if there is a token. The
	// origin is another address of the console.
	async user({scripts = true, theme = 'light', width = 1280, height = 900, token = '', origin = world.URL, forcedColors = 'none', timezone = 'UTC'} = {}) {
		const context = await this.browser.newContext({
			javaScriptEnabled: scripts, colorScheme: theme, forcedColors, viewport: {width, height}, timezoneId: timezone, ignoreHTTPSErrors: true, baseURL: origin,
		})
		context.setDefaultTimeout(60000) // the machine may be under load
		this.contexts.push(context)
		const origins = [origin, world.Issuer]
		context.on('request', r => {
			const url = r.url()
			if (!origins.some(o => url.startsWith(o + '/')) && !url.startsWith('data:') && url !== 'about:blank') this.broken.push(`a request to ${url}`)
		})
		context.on('weberror', e => {
			if (/Transition was (aborted|skipped)/.test(e.error())) return // the browser's animation between two pages, not a script of ours
			this.broken.push(`an error in a script: ${e.error()}`)
		})
		context.on('console', m => {
			const at = m.location()?.url ?? ''
			if (m.type() === 'error' && at.startsWith(origin)) this.note(`the browser's console: ${m.text()} ${at}`)
			if (/Content.Security.Policy/i.test(m.text())) this.note(`the policy is broken: ${m.text()}`)
		})
		const page = await context.newPage()
		if (token) await login(page, token)
		return page
	}

	// proxy is an address of the console that can be cut off.
	async proxy() {
		const open = new Set()
		const server = createServer(client => {
			const gateway = connect(new URL(world.URL).port, '127.0.0.1')
			for (const [a, b] of [[client, gateway], [gateway, client]]) {
				open.add(a)
				a.pipe(b)
				a.on('error', () => b.destroy())
				a.on('close', () => { open.delete(a); b.destroy() })
			}
		})
		const listen = port => new Promise(done => server.listen(port, '127.0.0.1', done))
		await listen(0)
		const {port} = server.address()
		const cut = () => {
			const closed = new Promise(done => server.close(done))
			for (const socket of open) socket.destroy()
			return closed
		}
		this.ends.push(cut)
		return {origin: `http://localhost:${port}`, cut, restore: () => listen(port)}
	}

	note(what) {
		if (!this.allowed.some(a => what.includes(a))) this.broken.push(what)
	}

	// picture takes a screenshot if the test was asked for some.
	async picture(page, name) {
		if (process.env.STELE_SCREENSHOTS) await page.screenshot({path: join(process.env.STELE_SCREENSHOTS, name + '.png'), fullPage: true})
	}

	// axe fails for all violations that axe-core finds.
	async axe(page, where) {
		await page.evaluate(axeScript)
		const found = await page.evaluate(async () => {
			const {violations} = await window.axe.run(document, {resultTypes: ['violations']})
			return violations
				.map(v => `${v.id} (${v.impact}): ${v.nodes.slice(0, 3).map(n => n.target.join(' ') + ': ' + (n.any[0]?.message ?? n.failureSummary)).join('; ')}`)
		})
		for (const f of found) this.broken.push(`${where}: ${f}`)
	}

	async end() {
		for (const c of this.contexts) await c.close()
		for (const end of this.ends) await end()
		check(this.broken.length === 0, this.broken.join('\n'))
	}
}

// login logs a user in with a token, with or without scripts.
export async function login(page, token) {
	await page.goto('/login')
	const more = page.locator('summary', {hasText: 'With a token'})
	if (await more.count()) await more.click()
	await page.fill('textarea[name=token]', token)
	await page.click('form.panel button')
	await page.waitForURL(u => !u.pathname.startsWith('/login'))
}

// positionOf is the position of the time slider at a revision of acme.
export const positionOf = (page, revision) => page.evaluate(async revision => {
	const answer = await fetch(`/acme@${revision}/keys/`)
	const there = new DOMParser().parseFromString(await answer.text(), 'text/html')
	return Math.floor(Date.parse(there.getElementById('time').dataset.time) / 1000)
}, revision)

// tab moves the focus to the next element that matches, and contains a text; with Shift+Tab to
// the one before.
export async function tab(page, selector, text = '', key = 'Tab') {
	for (let i = 0; i < 120; i++) {
		await page.keyboard.press(key)
		if (await page.evaluate(([selector, text]) => document.activeElement.matches(selector) && document.activeElement.textContent.includes(text), [selector, text])) return
	}
	throw new Error(`${key} does not reach ${selector} ${text}`)
}

// opened waits until a page has an element and its scripts run. The element alone is there before
// them: a key or a change that only scripts react to would be lost.
export async function opened(page, selector) {
	await page.waitForSelector(selector)
	await page.waitForLoadState()
}

// inEditor waits until the JSON editor has the focus.
export const inEditor = page => page.waitForFunction(() => document.activeElement.matches('.json-editor'))

// commit reviews the form that is shown, and commits it.
export async function commit(page) {
	await page.click('form.write button:has-text("Review")')
	await page.click('form.write button:has-text("Commit")')
}

// run runs each scenario, and prints its outcome.
export async function run(scenarios, {rules = true} = {}) {
	const only = process.env.SCENARIO
	const browser = await chromium.launch({
		executablePath: input.chromium,
		args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
			'--disable-sync', '--disable-quic', '--disable-dev-shm-usage', '--host-resolver-rules=MAP stele.test 127.0.0.1'],
	})
	for (const [name, scenario] of Object.entries(scenarios)) {
		if (only && !new RegExp(only).test(name)) continue
		const s = new Scenario(browser), begun = Date.now()
		let failure = ''
		try {
			await scenario(s)
		} catch (e) {
			failure = String(e.stack ?? e)
			for (const c of s.contexts) {
				for (const p of c.pages()) failure += `\nat ${p.url()}\n` + (await p.locator('main').innerText({timeout: 1000}).catch(() => '')).slice(0, 500)
			}
		}
		try {
			await s.end()
		} catch (e) {
			if (rules) failure += '\n' + e.message
		}
		console.log(JSON.stringify({Name: name, Failure: failure.trim(), Log: s.log, Seconds: (Date.now() - begun) / 1000}))
	}
	await browser.close()
}
