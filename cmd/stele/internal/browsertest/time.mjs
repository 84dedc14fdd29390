// The time axis at the top of every page.
import {check, positionOf, same, world} from './harness.mjs'

export const time = {}

const slider = '#time input[type=range]'
const key = '/keys/paramconfig/db/pool'

for (const [theme, width] of [['light', 1280], ['dark', 1280], ['light', 400], ['dark', 400]]) {
	time[`the axis shows commits and versions, and can be zoomed, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.reader, timezone: 'America/New_York'})
		await page.goto('/acme' + key)
		check(await page.locator('#histogram rect').count() > 20, 'bars')
		check(await page.locator('#histogram .version').count() >= 15, 'marks of versions')
		check(/UTC · .* GMT.[45]/.test(await page.innerText('[data-shown-time]')), 'the local time: ' + await page.innerText('[data-shown-time]'))
		await s.axe(page, 'the time axis')
		await s.picture(page, `axis-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		const span = () => page.$eval(slider, e => e.max - e.min)
		const whole = await span()
		await page.goto('/acme@20' + key)
		await page.evaluate(() => document.activeElement.blur())
		await page.keyboard.press('+')
		await page.waitForSelector('#zoom-buttons button[title="Zoom out"]')
		check(Math.abs(await span() / whole - .25) < .02, 'the part after zooming in')
		same(new URL(page.url()).pathname, '/acme@20' + key, 'the page')
		await s.picture(page, `axis-zoomed-${theme}-${width}`)
		await page.click('#zoom-buttons button[title="Later"]')
		await page.click('#zoom-buttons button[title="Show all of the history"]')
		same(await span(), whole, 'all of the history')
		await page.focus(slider)
		await page.keyboard.press('ArrowLeft')
		await page.waitForURL('**/acme@19' + key)
	}
}

time['a drag shows the date, the arrows step, and a click goes to the time'] = async s => {
	const page = await s.user({token: world.Tokens.reader})
	await page.goto('/acme' + key)
	const position = await positionOf(page, 20)
	await page.$eval(slider, (e, position) => { e.value = position; e.dispatchEvent(new Event('input', {bubbles: true})) }, position)
	const date = new Date(position * 1000).toISOString().slice(0, 19).replace('T', ' ') + ' UTC'
	same(await page.innerText('[data-shown-time]'), date, 'the date during the drag')
	await page.waitForURL('**/acme@20' + key)
	await page.$eval(slider, e => e.dispatchEvent(new Event('change', {bubbles: true})))
	await page.waitForFunction(() => document.querySelector('[data-shown-revision]').textContent === '@20')
	await page.focus(slider)
	await page.keyboard.press('ArrowLeft')
	await page.waitForURL('**/acme@19' + key)
	await page.keyboard.press('ArrowUp')
	await page.waitForURL('**/acme@20' + key)
	// A mark of the key's own version is hit although the click is next to it.
	const box = await page.$eval('#histogram [data-version="9"]', e => e.getBoundingClientRect().toJSON())
	await page.mouse.click(box.x + 3, box.y + 5)
	await page.waitForURL('**/acme@9' + key)
	const drawing = await page.locator('#histogram').boundingBox()
	await page.mouse.click(drawing.x + drawing.width - 1, drawing.y + 3)
	await page.waitForURL(u => u.pathname === '/acme' + key)
}

time['the axis works without scripts'] = async s => {
	const page = await s.user({scripts: false, token: world.Tokens.reader})
	await page.goto('/acme@20' + key)
	check(await page.locator('#histogram rect').count() > 20, 'bars')
	await page.click('#zoom-buttons button[title="Zoom in"]')
	await page.focus(slider)
	await page.keyboard.press('Home')
	await page.click('#time button:has-text("Show")')
	const at = Number(new URL(page.url()).pathname.match(/@(\d+)/)[1])
	check(at > 5 && at < 20, `the first revision of the part is ${at}`)
	await page.click('#zoom-buttons button[title="Zoom out"]')
	await page.click('#time button:has-text("Show")')
	same(new URL(page.url()).pathname, `/acme@${at}${key}`, 'a slider that was not moved')
}
