// Finding things, and copying what was found to differ.
import {check, same, world} from './harness.mjs'

export const search = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

for (const [theme, width] of [['light', 1280], ['dark', 400]]) {
	search[`names, values and reasons are searched, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto('/acme/keys/')
		await page.click('#search')
		await page.fill('main input[name=q]', 'on its way')
		await page.keyboard.press('Enter')
		await page.waitForSelector('table.matches')
		check((await main(page)).includes('tenantconfig/mail/template_00'), await main(page))
		await s.axe(page, 'the search')
		await s.picture(page, `search-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.fill('main input[name=q]', 'load test')
		await page.click('button:has-text("In all tenants")')
		await page.waitForURL(u => u.pathname === '/search')
		check((await main(page)).includes('raise the limit after the load test'), await main(page))
		await s.axe(page, 'the search of all tenants')
	}
}

for (const theme of ['light', 'dark']) {
	search[`the palette goes to keys, commits and tenants, ${theme}`] = async s => {
		const page = await s.user({theme, token: world.Tokens.operator})
		await page.goto('/acme@30/keys/tenantconfig/checkout/')
		await page.keyboard.press('Control+K')
		await page.keyboard.type('flag_01')
		await page.waitForSelector('#palette a:has-text("tenantconfig/features/flag_01")')
		await s.axe(page, 'the palette')
		await s.picture(page, `palette-${theme}`)
		await page.keyboard.press('ArrowDown')
		await page.keyboard.press('Enter')
		await page.waitForURL('**/acme@30/keys/tenantconfig/features/flag_01')
		await page.keyboard.press('Control+K')
		await page.keyboard.type('@12')
		await page.keyboard.press('Enter')
		await page.waitForURL('**/acme/commits/12')
		await page.goto('/acme/keys/paramconfig/')
		await page.keyboard.press('Control+K')
		await page.keyboard.type('globex')
		await page.click('#palette a:has-text("globex"):has-text("tenant")')
		await page.waitForURL('**/globex/keys/paramconfig/')
		await page.keyboard.press('Control+K')
		await page.keyboard.press('Escape')
		await page.waitForSelector('#palette', {state: 'hidden'})
	}
}

for (const [theme, width, scripts] of [['light', 1280, false], ['light', 1280, true], ['dark', 400, true]]) {
	const name = `${theme}-${width}${scripts ? '' : '-plain'}`
	search[`another tenant is chosen with the prefix and the time kept, ${name}`] = async s => {
		const page = await s.user({theme, width, scripts, token: world.Tokens.operator})
		await page.goto('/globex@5/keys/tenantconfig/shop/')
		await page.click('text=Switch tenant')
		await page.fill('main input[name=filter]', 'acme')
		await page.click('button:has-text("Filter")')
		await page.click('main a:has-text("acme")')
		await page.waitForURL(/\/acme@\d+\/keys\/tenantconfig\/shop\/$/)
	}

	search[`chosen differences are copied to another tenant, and keys set back, ${name}`] = async s => {
		const page = await s.user({theme, width, scripts, token: world.Tokens.operator})
		const tenant = `copied-${name}`
		await page.goto(`/acme/compare?with=${tenant}&prefix=paramconfig/`)
		await page.check('[name=key][value="paramconfig/db/pool"]')
		await s.picture(page, `compare-choose-${name}`)
		await page.click(`button:has-text("to ${tenant} …")`)
		await page.waitForSelector('h1:has-text("Review 1 change")')
		check((await page.inputValue('input[name=message]')).startsWith('copy 1 key from acme@'), 'the reason')
		await page.click('button:has-text("Commit 1 change")')
		await page.waitForURL(`**/${tenant}/commits/3`)
		await page.goto(`/${tenant}/rollback?to=@1`)
		await page.check('[name=key][value="a/one"]')
		await page.click('button:has-text("Set the chosen keys back to @1")')
		await page.waitForSelector('h1:has-text("Review 1 change")')
		await page.click('button:has-text("Commit 1 change")')
		await page.waitForURL(`**/${tenant}/commits/4`)
		await page.goto(`/${tenant}/keys/a/one`)
		check((await main(page)).includes('"first"'), 'the key was not set back')
		await page.goto(`/${tenant}/keys/a/two`)
		check((await main(page)).includes('"second"'), 'a key that was not chosen was set back')
	}
}
