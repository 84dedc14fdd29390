// The daily tasks of an operator on a real history, by mouse and by keyboard.
import {check, run, same, tab, world} from './harness.mjs'

const h = world.History
const tenant = h.Tenant
const scenarios = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')
const keys = n => n === 1 ? '1 key' : `${n} keys`

// Mouse clicks, and types into the field that it has clicked.
class Mouse {
	constructor(page) {
		this.page = page
	}
	press(selector, text = '') {
		return this.page.locator(selector, {hasText: text}).first().click()
	}
	async type(selector, text) {
		await this.page.click(selector)
		await this.page.fill(selector, text)
	}
	submit(button) {
		return this.press('main button', button)
	}
	last(selector, text) {
		return this.press(selector, text)
	}
}

// Keyboard goes to an element with Tab.
class Keyboard {
	constructor(page) {
		this.page = page
	}
	async reach(selector, text) {
		const there = await this.page.evaluate(([selector, text]) => document.activeElement.matches(selector) && document.activeElement.textContent.includes(text), [selector, text])
		if (!there) await tab(this.page, selector, text)
	}
	async press(selector, text = '') {
		await this.reach(selector, text)
		await this.page.keyboard.press('Enter')
	}
	async type(selector, text) {
		await this.reach(selector, '')
		await this.page.keyboard.press('Control+A')
		await this.page.keyboard.type(text)
	}
	submit() {
		return this.page.keyboard.press('Enter')
	}
	// last goes to an element at the end of the page.
	async last(selector, text) {
		await tab(this.page, selector, text, 'Shift+Tab')
		await this.page.keyboard.press('Enter')
	}
}

const tasks = {
	'search names, values and reasons': async ({page, hand, look, url}) => {
		await page.goto(`/${tenant}/keys/`)
		await hand.press('#search')
		await url(`**/${tenant}/search*`)
		await hand.type('main input[name=q]', h.Text)
		await hand.submit('Search')
		await page.waitForSelector('table.matches')
		check((await main(page)).includes(`${keys(h.Found)} of `), `${h.Found} keys contain ${h.Text}: ${await main(page)}`)
		await look('search')
		await hand.press('table.matches th a', h.First)
		await url(`**/${tenant}/keys/${h.First}`)
		await look('key-found')
	},

	'search all tenants': async ({page, hand, look, url}) => {
		await page.goto('/')
		await hand.press('main a', 'Search all tenants')
		await url('**/search')
		await hand.type('main input[name=q]', h.Text)
		await hand.submit('Search')
		await page.waitForSelector('table.matches')
		const said = await main(page)
		check(said.includes(`${keys(h.Everywhere)} of `) && said.includes(`in ${h.Tenants} tenants`), `${h.Everywhere} matches in ${h.Tenants} tenants: ${said.slice(0, 1000)}`)
		await look('search-all')
		await hand.last('main p.small a', tenant)
		await url(`**/${tenant}/search*`)
		check((await main(page)).includes(`${keys(h.Found)} of `), `the search of ${tenant} goes on: ${await main(page)}`)
	},

	'compare two times': async ({page, hand, look, nav, url}) => {
		await page.goto(`/${tenant}/keys/`)
		await nav('Compare')
		await hand.type('main input[name=from]', h.From)
		await hand.type('main input[name=to]', h.To)
		await hand.type('main input[name=prefix]', h.Compared)
		await hand.submit('Compare')
		await url('**from=*')
		same(await page.locator('li.change').count(), h.Differ, 'keys that differ')
		await look('compare')
	},

	'compare two tenants': async ({page, hand, look, nav, url}) => {
		await page.goto(`/${tenant}/keys/`)
		await nav('Compare')
		await hand.type('main input[name=with]', h.Other)
		await hand.type('main input[name=prefix]', h.Between)
		await hand.submit('Compare')
		await url('**with=*')
		same(await page.locator('li.change').count(), h.DifferBetween, 'keys that differ')
		await look('compare-tenants')
	},

	'preview a rollback': async ({page, hand, look, nav, url}) => {
		await page.goto(`/${tenant}/keys/`)
		await nav('Roll back')
		await hand.type('main input[name=to]', h.From)
		await hand.type('main input[name=prefix]', h.Compared)
		await hand.submit('Preview')
		await url('**to=*')
		const would = [h.SetBack && `set ${keys(h.SetBack)}`, h.DeleteBack && `delete ${keys(h.DeleteBack)}`].filter(Boolean).join(' and ')
		check((await main(page)).includes(`would ${would}.`), `it would ${would}: ${await main(page)}`)
		await look('rollback')
		await hand.press('main a', 'Cancel')
		await url(`**/${tenant}/keys/`)
	},

	'go through the time': async ({page, hand, look, url, keyboard}) => {
		const slider = '#time input[type=range]'
		const here = `/${tenant}/keys/${h.Key}`
		await page.goto(here)
		check(await page.locator('#histogram rect').count() > 40, 'bars')
		check(await page.locator('#histogram .version').count() >= 100, 'marks of versions')
		await look('axis')
		if (keyboard) {
			await hand.reach(slider, '')
			await page.keyboard.press('ArrowLeft')
		} else {
			const drawing = await page.locator('#histogram').boundingBox()
			await page.mouse.click(drawing.x + drawing.width / 2, drawing.y + 3)
		}
		await page.waitForURL(u => /@\d+\/keys\//.test(u.pathname))
		check((await main(page)).includes(`You are looking at ${tenant}@`), await main(page))
		const span = () => page.$eval(slider, e => e.max - e.min)
		const whole = await span()
		if (keyboard) {
			await page.evaluate(() => document.activeElement.blur())
			await page.keyboard.press('+')
		} else await hand.press('#zoom-buttons button[title="Zoom in"]')
		await page.waitForSelector('#zoom-buttons button[title="Zoom out"]')
		check(Math.abs(await span() / whole - .25) < .02, 'the part after zooming in')
		await look('axis-zoomed')
		if (keyboard) {
			await page.evaluate(() => document.activeElement.blur())
			await page.keyboard.press('n')
		} else await hand.press('#newest')
		await url('**' + here)
		await hand.press('#zoom-buttons button[title="Show all of the history"]')
		await page.waitForSelector('#zoom-buttons button[title="Zoom out"]', {state: 'detached'})
	},

	'page through the history': async ({page, hand, look, nav, url}) => {
		await page.goto(`/${tenant}/keys/`)
		await nav('History')
		const revisions = () => page.$$eval('tr[data-revision]', rows => rows.map(row => Number(row.dataset.revision)))
		let last = (await revisions()).at(0) + 1
		for (let i = 0; i < 3; i++) {
			const shown = await revisions()
			same(shown.length, 50, 'commits on a page')
			check(shown.every((revision, j) => revision === last - 1 - j), `the page after @${last} has ${shown}`)
			last = shown.at(-1)
			if (i === 0) await look('history')
			if (i === 2) break
			await hand.last('main a[rel=next]', 'older')
			await page.waitForFunction(last => document.querySelector('tr[data-revision]')?.dataset.revision === String(last - 1), last)
		}
		await hand.type('main input[name=author]', h.Author)
		await hand.submit('Select')
		await url('**author=*')
		const authors = await page.$$eval('td.who', cells => cells.map(cell => cell.textContent.trim()))
		check(authors.length === 50 && authors.every(a => a.includes(h.Author)), `the commits of ${h.Author}: ${authors}`)
		await look('history-author')
		await hand.press('tr[data-revision] th a')
		await url(`**/${tenant}/commits/*`)
		await look('commit')
	},

	'switch the tenant': async ({page, hand, look, url}) => {
		await page.goto(`/${tenant}/keys/tenantconfig/`)
		await hand.press('#switch')
		await page.waitForSelector('main input[name=filter]')
		check(await page.locator('main tbody tr').count() >= h.Tenants, 'the tenants')
		await look('tenants')
		await hand.type('main input[name=filter]', h.Other)
		await hand.submit('Filter')
		await url('**filter=*')
		await hand.press('main tbody a', h.Other)
		await url(`**/${h.Other}/keys/tenantconfig/`)
		await look('keys')
	},

	'jump with the palette': async ({page, hand, look, url, keyboard}) => {
		await page.goto(`/${tenant}/keys/tenantconfig/`)
		await page.keyboard.press('Control+K')
		await page.keyboard.type(h.First)
		await page.waitForSelector(`#palette a:has-text("${h.First}")`)
		await look('palette')
		if (keyboard) {
			await page.keyboard.press('ArrowDown')
			await page.keyboard.press('Enter')
		} else await hand.press('#palette a', h.First)
		await url(`**/${tenant}/keys/${h.First}`)
		await page.keyboard.press('Control+K')
		await page.keyboard.type('@20000')
		await page.keyboard.press('Enter')
		await url(`**/${tenant}/commits/20000`)
		await page.keyboard.press('Control+K')
		await page.keyboard.type(h.Other)
		await page.waitForSelector(`#palette a:has-text("${h.Other}"):has-text("tenant")`)
		if (keyboard) await page.keyboard.press('Enter')
		else await hand.press('#palette a', h.Other)
		await page.waitForURL(u => u.pathname.startsWith(`/${h.Other}`))
	},

	'look at the fleet': async ({page, hand, look, url}) => {
		await page.goto('/')
		await hand.press('main a', 'Fleet')
		await url('**/fleet')
		const said = await main(page)
		for (const part of ['Gateways', 'running', 'Sinks', 'files', 'This list is not complete']) check(said.includes(part), `the fleet lacks ${part}: ${said}`)
		await page.waitForSelector('svg.spark polyline', {state: 'attached'})
		await look('fleet')
	},

	'look at the sinks': async ({page, hand, look, nav, url}) => {
		await page.goto(`/${tenant}/keys/`)
		await nav('Projections')
		await page.waitForSelector('#sinks')
		await look('projections')
		await hand.press('#sinks th a', 'files')
		await url(`**/${tenant}/projections/files`)
		await look('projection')
	},
}

for (const [theme, width] of [['light', 1280], ['dark', 1280], ['light', 400], ['dark', 400]]) {
	for (const [name, task] of Object.entries(tasks)) {
		for (const keyboard of [false, true]) {
			scenarios[`${name}, ${keyboard ? 'keyboard' : 'mouse'}, ${theme}, ${width} px`] = async s => {
				const page = await s.user({theme, width, token: world.Tokens.operator})
				const hand = keyboard ? new Keyboard(page) : new Mouse(page)
				await task({
					page, hand, keyboard,
					url: pattern => page.waitForURL(pattern),
					// look checks a page that has come to rest.
					look: async what => {
						const height = await page.$eval('.top', e => e.getBoundingClientRect().height)
						check(width === 400 || height < 60, `the header of ${what} has several rows: ${height} px`)
						await s.axe(page, what)
						if (!keyboard) await s.picture(page, `real-${what}-${theme}-${width}`)
						check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, `${what} is too wide`)
						const scrolls = width === 400 && await page.evaluate(() => [...document.querySelectorAll('main table')].some(table => table.parentElement.scrollWidth > table.parentElement.clientWidth + 1 && table.getClientRects().length > 0))
						check(!scrolls, `a table of ${what} scrolls`)
					},
					// nav opens a page of the navigation, which is a menu on a phone.
					nav: async title => {
						if (width === 400) await hand.press('button', 'Menu')
						await hand.press('#nav a', title)
						await page.waitForLoadState()
						await page.waitForFunction(title => document.querySelector('#nav a[aria-current]')?.textContent.includes(title), title)
					},
				})
			}
		}
	}
}

await run(scenarios)
