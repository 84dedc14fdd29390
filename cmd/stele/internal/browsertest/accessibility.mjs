// Accessibility: axe-core, narrow screens, and the keyboard.
import {check, inEditor, same, tab, world} from './harness.mjs'
import {pages} from './pages.mjs'

export const accessibility = {}

for (const theme of ['light', 'dark']) {
	accessibility[`axe finds nothing on any page, ${theme}`] = async s => {
		s.allowed.push('404', '400', '401', '409')
		const known = await s.user({theme, token: world.Tokens.operator})
		const anonymous = await s.user({theme})
		for (const [name, path] of Object.entries(pages)) {
			const page = path.startsWith('/login') ? anonymous : known
			await page.goto(path)
			await s.axe(page, `${name}, ${theme}`)
		}
	}
}

accessibility['no page is wider than a phone'] = async s => {
	s.allowed.push('404', '400', '401', '409')
	const page = await s.user({width: 400, token: world.Tokens.operator})
	for (const [name, path] of Object.entries(pages)) {
		if (path === '/login') continue
		await page.goto(path)
		const wide = await page.evaluate(() => document.documentElement.scrollWidth)
		if (wide > 400) s.broken.push(`${name} is ${wide} px wide`)
		// Rows are cards, or the table scrolls; the legend of a chart has one row.
		const squeezed = await page.evaluate(() => [...document.querySelectorAll('main table:not(.cards)')].filter(table => !table.closest('.scroll, .chart') && table.getClientRects().length > 0).length)
		if (squeezed > 0) s.broken.push(`${name} has a table that is neither cards nor scrolls`)
		const empty = await page.evaluate(() => [...document.querySelectorAll('main nav')].filter(nav => !nav.querySelector('a') && nav.getClientRects().length > 0).length)
		if (empty > 0) s.broken.push(`${name} has an empty navigation that takes room`)
	}
}

accessibility['editing with the keyboard only'] = async s => {
	const page = await s.user({token: world.Tokens.writer})
	await page.goto('/acme/keys/tenantconfig/checkout/timeout_ms')
	await page.keyboard.press('Tab')
	same(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content', 'the first stop')
	await page.keyboard.press('Enter')
	await page.waitForFunction(() => document.activeElement.id === 'page')
	// The focus is visible.
	for (let i = 0; i < 40; i++) {
		await page.keyboard.press('Tab')
		const at = await page.evaluate(() => {
			const e = document.activeElement, style = getComputedStyle(e)
			const shown = parseFloat(style.outlineWidth) > 0 && style.outlineStyle !== 'none' || style.boxShadow !== 'none'
			return {shown, text: e.textContent.trim(), what: e.outerHTML.slice(0, 80)}
		})
		check(at.shown, `the focus is not visible on ${at.what}`)
		if (at.text === 'Edit') break
	}
	await page.keyboard.press('Enter')
	await inEditor(page)
	check(await page.evaluate(() => document.activeElement.shadowRoot.querySelector('.cm-focused') !== null), 'the focus of the editor is not visible')
	await page.keyboard.press('Control+A')
	await page.keyboard.type('4711')
	await tab(page, 'input[name=message]')
	await page.keyboard.type('with the keyboard')
	await page.keyboard.press('Enter')
	await page.waitForSelector('h1:text-is("Review")')
	await page.waitForFunction(() => document.activeElement.textContent === 'Commit')
	await page.keyboard.press('Enter')
	await page.waitForURL('**written=*')
	check((await page.innerText('main')).includes('4711'), 'the value is not shown')
	await page.keyboard.press('[')
	await page.waitForURL(/acme@\d+/)
	await page.keyboard.press('n')
	await page.waitForURL(u => u.pathname.startsWith('/acme/'))
}

accessibility['the navigation is a menu on a phone, with and without scripts'] = async s => {
	for (const scripts of [true, false]) {
		for (const theme of ['light', 'dark']) {
			const page = await s.user({scripts, theme, width: 400, token: world.Tokens.operator})
			await page.goto('/acme/keys/tenantconfig/checkout/')
			check(!await page.isVisible('nav a:has-text("History")'), 'the menu is open')
			if (scripts) await s.picture(page, `phone-${theme}`)
			await page.click('button:has-text("Menu")')
			await page.waitForSelector('nav a:has-text("History")')
			if (scripts) {
				await s.axe(page, 'the menu')
				await s.picture(page, `menu-${theme}`)
			}
			await page.click('nav a:has-text("History")')
			await page.waitForURL(u => u.pathname.startsWith('/acme/history'))
			if (scripts) await s.picture(page, `history-phone-${theme}`)
			const label = await page.$eval('td.who', e => getComputedStyle(e, '::before').content)
			check(label.includes('By'), `the label of a card: ${label}`)
		}
	}
}

accessibility['regions that scroll take the focus'] = async s => {
	const page = await s.user({width: 400, token: world.Tokens.operator})
	for (const path of ['/acme/projections', '/long/compare?from=@1', '/long/commits/2']) {
		await page.goto(path)
		const fixed = await page.evaluate(() => [...document.querySelectorAll('main *')].filter(e => {
			const style = getComputedStyle(e)
			return /auto|scroll/.test(style.overflowX + style.overflowY) && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1) && e.tabIndex < 0
		}).map(e => e.outerHTML.slice(0, 80)))
		same(fixed.join(), '', `regions of ${path} that the keyboard cannot scroll`)
		await s.axe(page, path)
	}
}

accessibility['the shortcuts are listed'] = async s => {
	for (const theme of ['light', 'dark']) {
		const page = await s.user({theme, token: world.Tokens.reader})
		await page.goto('/acme/history/')
		await page.keyboard.press('?')
		await page.waitForSelector('#help:has-text("one version back")')
		await s.axe(page, 'the shortcuts')
		await s.picture(page, `help-${theme}`)
		await page.keyboard.press('Escape')
		await page.waitForSelector('#help', {state: 'hidden'})
		await page.click('#show-help')
		await page.waitForSelector('#help:has-text("one version back")')
	}
}

accessibility['the colors of the system show the focus and the current page'] = async s => {
	for (const theme of ['light', 'dark']) {
		const page = await s.user({theme, forcedColors: 'active', token: world.Tokens.writer})
		await page.goto('/acme/keys/paramconfig/db/pool?edit=1')
		await page.focus('input[name=message]')
		const outline = await page.$eval('input[name=message]', e => getComputedStyle(e).outlineStyle)
		check(outline !== 'none', 'the focus is not visible')
		const line = await page.$eval('nav a[aria-current]', e => getComputedStyle(e).textDecorationLine)
		same(line, 'underline', 'the current page')
		await s.picture(page, `forced-${theme}`)
	}
}
