// What operators see and do: the fleet, and drift and parked keys one by one.
import {writeFile, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {check, same, tab, world} from './harness.mjs'

export const fleet = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

for (const [theme, width] of [['light', 1280], ['light', 400], ['dark', 1280], ['dark', 400]]) {
	fleet[`the fleet, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto('/')
		if (width > 400) await page.click('main a:has-text("Fleet")')
		else {
			await tab(page, 'main a', 'Fleet')
			await page.keyboard.press('Enter')
		}
		await page.waitForURL('**/fleet')
		const said = await main(page)
		for (const part of ['Gateways', 'ledger, gateway, signer, projector', 'running', 'the journal', 'files', 'directory', 'Changes of all tenants', 'many@1']) {
			check(said.includes(part), `the fleet lacks ${part}: ${said}`)
		}
		await page.waitForSelector('svg.spark polyline', {state: 'attached'}) // the page refreshes itself
		await s.axe(page, 'the fleet')
		await s.picture(page, `fleet-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
	}
}

for (const [theme, width] of [['light', 1280], ['dark', 400]]) {
	fleet[`the sinks fit the page, ${theme}, ${width} px`] = async s => {
		const page = await s.user({theme, width, token: world.Tokens.operator})
		await page.goto('/acme/projections')
		await s.axe(page, 'the projections')
		await s.picture(page, `projections-${theme}-${width}`)
		check(await page.$eval('#sinks .scroll', e => e.scrollWidth <= e.clientWidth + 1), 'the table scrolls')
		const label = await page.$eval('#sinks td[data-label=Pending]', e => getComputedStyle(e, '::before').content)
		same(label.includes('Pending'), width === 400, 'a label in front of a value')
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

for (const [theme, width, keyboard, scripts] of [['light', 1280, false, false], ['dark', 400, false, true], ['dark', 1280, true, true], ['light', 400, true, true]]) {
	// press clicks a button or link, or goes to it with Tab and presses Enter.
	const press = async (page, selector, text) => {
		if (!keyboard) return page.locator(selector, {hasText: text}).first().click()
		await tab(page, selector, text)
		await page.keyboard.press('Enter')
	}

	fleet[`drifted items are compared, repaired and adopted, ${theme}, ${width} px`] = async s => {
		const tenant = `resolved-${theme}-${width}`
		await writeFile(join(world.Files, tenant, 'a/one'), 'changed by hand')
		await writeFile(join(world.Files, tenant, 'a/two'), '"adopted"')
		await rm(join(world.Files, tenant, 'a/gone'))
		const page = await s.user({theme, width, scripts, token: world.Tokens.operator})
		const resolve = async (key, button, done, parts) => {
			await page.goto(`/${tenant}/projections/files`)
			await press(page, 'main button', 'Compare all items now')
			await page.waitForURL('**done=check*')
			if (scripts) await s.axe(page, 'the sink')
			await s.picture(page, `drift-${theme}-${width}`)
			await press(page, 'tbody button', `a/${key}`)
			await page.waitForURL('**/item?name=*')
			const said = await main(page)
			for (const part of parts) check(said.includes(part), `the item lacks ${part}: ${said}`)
			if (scripts) {
				await s.axe(page, 'the item')
				check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
			}
			await s.picture(page, `item-${theme}-${width}`)
			await press(page, 'main button', button)
			await page.waitForURL(`**done=${done}*`)
		}
		await resolve('one', 'Repair', 'repair', ['was: 1', 'is: "changed by hand"', 'edited'])
		check((await main(page)).includes("1 item written with the ledger's value"), await main(page))
		await resolve('two', 'Adopt', 'adopt', ['was: 2', 'is: "adopted"'])
		await page.goto(`/${tenant}/keys/a/two`)
		check((await main(page)).includes('adopted'), 'the value that was adopted')
		await resolve('gone', 'Adopt the deletion', 'adopt', ['deleted', 'was: 3'])
		s.allowed.push('404')
		same((await page.goto(`/${tenant}/keys/a/gone`)).status(), 404, 'the key that was deleted')
	}

	fleet[`a parked key shows the reason, and is retried, skipped and fixed, ${theme}, ${width} px`] = async s => {
		const tenant = `parked-${theme}-${width}`
		const page = await s.user({theme, width, scripts, token: world.Tokens.operator})
		// sink opens the page of the sink once it shows something.
		const sink = async shows => {
			for (let i = 0; i < 200; i++) {
				await page.goto(`/${tenant}/projections/files`)
				if (shows.test(await main(page))) return
				await page.waitForTimeout(50)
			}
			throw new Error(`the sink does not show ${shows}: ${await main(page)}`)
		}
		await sink(/a\/nested\/below .*a\/nested is also a key.*To fix it, delete or rename a\/nested, which is in the way/)
		if (scripts) {
			await s.axe(page, 'the parked key')
			check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		}
		await s.picture(page, `parked-${theme}-${width}`)
		const decide = async (title, said) => {
			await sink(/a\/nested\/below/)
			await press(page, 'tbody button', title)
			await page.waitForSelector('button.danger')
			await press(page, 'button.danger', title)
			await page.waitForURL('**done=*')
			check((await main(page)).includes(said), await main(page))
		}
		await decide('Retry', '1 parked key tried again')
		await decide('Skip', '1 parked key given up until changed again')
		// The key in the way is deleted, as the page proposes.
		await press(page, 'td a', 'a/nested')
		await page.waitForURL(`**/${tenant}/keys/a/nested`)
		await press(page, 'main a', 'Delete')
		await page.waitForURL('**/delete/**')
		await page.fill('input[name=message]', 'it was in the way')
		await press(page, 'button.danger', 'Delete')
		await page.waitForURL('**/commits/*')
		await sink(/skipped/)
		await decide('Retry', '1 parked key tried again')
		await sink(/No key is parked/)
	}
}
