// What operators see and do: the fleet, and drift and parked keys one by one.
import {writeFile, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {check, same, world} from './harness.mjs'

export const fleet = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

// drifted opens the page of the sink after all of it was compared.
async function drifted(page) {
	await page.goto('/resolved/projections/files')
	await page.click('button:has-text("Compare all items now")')
	await page.waitForURL('**done=check*')
}

for (const [theme, width] of [['light', 1280], ['light', 400], ['dark', 1280], ['dark', 400]]) {
	fleet[`the fleet, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto('/')
		await page.click('main a:has-text("Fleet")')
		await page.waitForURL('**/fleet')
		const said = await main(page)
		for (const part of ['Gateways', 'ledger, gateway, signer, projector', 'running', 'the journal', 'files', 'directory', 'Changes of all tenants', 'resolved@1']) {
			check(said.includes(part), `the fleet lacks ${part}: ${said}`)
		}
		await page.waitForSelector('svg.spark polyline', {state: 'attached'}) // the page refreshes itself
		await s.axe(page, 'the fleet')
		await s.picture(page, `fleet-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
	}
}

fleet['the fleet is for operators, and works without scripts'] = async s => {
	s.allowed.push('403')
	const page = await s.user({scripts: false, token: world.Tokens.operator})
	await page.goto('/fleet')
	check((await main(page)).includes('running'), 'the fleet without scripts')
	const reader = await s.user({token: world.Tokens.reader})
	same((await reader.goto('/fleet')).status(), 403, 'the page for a reader')
}

fleet['a drifted item is compared, repaired and adopted'] = async s => {
	await writeFile(join(world.Files, 'resolved/a/one'), 'changed by hand')
	await writeFile(join(world.Files, 'resolved/a/two'), '"adopted"')
	await rm(join(world.Files, 'resolved/a/gone'))
	for (const theme of ['light', 'dark']) {
		for (const width of [1280, 400]) {
			const page = await s.user({theme, width, token: world.Tokens.operator})
			await drifted(page)
			await s.axe(page, 'the sink')
			await s.picture(page, `drift-${theme}-${width}`)
			await page.click('tr:has-text("a/one") button:has-text("Compare and resolve")')
			await page.waitForURL('**/item?name=*')
			const said = await main(page)
			for (const part of ['was: 1', 'is: "changed by hand"', 'edited']) check(said.includes(part), `the item lacks ${part}: ${said}`)
			await s.axe(page, 'the item')
			await s.picture(page, `item-${theme}-${width}`)
			check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		}
	}
	// By mouse, without scripts.
	const page = await s.user({scripts: false, token: world.Tokens.operator})
	await drifted(page)
	await page.click('tr:has-text("a/one") button:has-text("Compare and resolve")')
	await page.click('button:text-is("Repair")')
	await page.waitForURL('**done=repair*')
	check((await main(page)).includes("1 item written with the ledger's value"), await main(page))
	// By keyboard.
	const keyboard = await s.user({token: world.Tokens.operator})
	await drifted(keyboard)
	await keyboard.focus('tr:has-text("a/two") button:has-text("Compare and resolve")')
	await keyboard.keyboard.press('Enter')
	await keyboard.waitForURL('**/item?name=*')
	await keyboard.focus('button:text-is("Adopt")')
	await keyboard.keyboard.press('Enter')
	await keyboard.waitForURL('**done=adopt*')
	await keyboard.goto('/resolved/keys/a/two')
	check((await main(keyboard)).includes('adopted'), 'the value that was adopted')
	// A missing item is adopted as a deletion.
	await drifted(keyboard)
	await keyboard.click('tr:has-text("a/gone") button:has-text("Compare and resolve")')
	await keyboard.click('button:text-is("Adopt the deletion")')
	await keyboard.waitForURL('**done=adopt*')
	s.allowed.push('404')
	same((await keyboard.goto('/resolved/keys/a/gone')).status(), 404, 'the key that was deleted')
}
