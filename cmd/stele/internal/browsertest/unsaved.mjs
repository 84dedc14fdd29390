// Text that was typed is never lost without a warning.
import {check, commit, opened, same, world} from './harness.mjs'

const key = '/acme/keys/paramconfig/db/pool'

// edit types a value into the form of a key, and dismisses dialogs from then on.
async function edit(page) {
	const dialogs = []
	page.on('dialog', d => { dialogs.push(d.type()); d.dismiss() })
	await page.goto(key + '?edit=1')
	await page.fill('textarea[name=value]', '{"typed": true}')
	return dialogs
}

async function kept(page, dialogs, what) {
	for (let i = 0; i < 1200 && dialogs.length === 0; i++) await page.waitForTimeout(50)
	same(dialogs.length, 1, `warnings before ${what}`)
	same(await page.inputValue('textarea[name=value]'), '{"typed": true}', `the text after ${what}`)
	dialogs.length = 0
}

export const unsaved = {
	'links, shortcuts and the theme button warn before typed text is lost': async s => {
		const page = await s.user({token: world.Tokens.writer})
		const dialogs = await edit(page)
		await page.click('nav a:has-text("History")', {noWaitAfter: true})
		await kept(page, dialogs, 'a link')
		await page.evaluate(() => document.activeElement.blur())
		await page.keyboard.press('[')
		await kept(page, dialogs, 'the shortcut [')
		await page.click('form.theme button:visible', {noWaitAfter: true})
		await kept(page, dialogs, 'the theme button')
	},

	'Back and Forward warn before typed text is lost': async s => {
		const page = await s.user({token: world.Tokens.writer})
		await page.goto(key + '?edit=1')
		const past = u => u.pathname.startsWith('/acme@'), form = u => u.pathname === key
		await page.focus('#time input[type=range]')
		await page.keyboard.press('ArrowLeft')
		await page.waitForURL(past)
		await page.goBack()
		await page.waitForSelector('textarea[name=value]', {state: 'attached'})
		await page.fill('textarea[name=value]', '{"typed": true}')
		const dialogs = []
		let accepts = false
		page.on('dialog', d => { dialogs.push(d.type()); accepts ? d.accept() : d.dismiss() })
		await page.evaluate(() => history.forward())
		await kept(page, dialogs, 'Forward')
		await page.waitForURL(form)
		await page.evaluate(() => history.forward()) // the entry is the one before Forward again
		await kept(page, dialogs, 'Forward again')
		await page.waitForURL(form)
		accepts = true
		await page.evaluate(() => history.forward())
		await page.waitForURL(past)
		await page.waitForSelector('textarea[name=value]', {state: 'detached'})
		same(dialogs.length, 1, 'warnings of the accepted Forward')
	},

	'text that is typed while another state is received is kept': async s => {
		const page = await s.user({token: world.Tokens.writer})
		await page.goto(key + '?edit=1')
		const dialogs = []
		page.on('dialog', d => { dialogs.push(d.type()); d.dismiss() })
		let received
		const asked = new Promise(ask => page.route(u => u.pathname.startsWith('/acme@'), route => { received = () => route.continue(); ask() }))
		await page.focus('#time input[type=range]')
		await page.keyboard.press('ArrowLeft')
		await asked
		await page.fill('textarea[name=value]', '{"typed": true}')
		await received()
		await kept(page, dialogs, 'another state')
		same(new URL(page.url()).pathname, key, 'the address')
	},

	'the form that discards its text does not warn': async s => {
		const page = await s.user({token: world.Tokens.writer})
		const dialogs = await edit(page)
		await page.click('form.write a:has-text("Cancel")')
		await page.waitForURL(u => u.pathname === key && !u.search)
		same(dialogs.length, 0, 'warnings')
	},

	'text that was rejected warns before it is lost': async s => {
		s.allowed.push('422')
		const page = await s.user({token: world.Tokens.writer})
		const dialogs = await edit(page)
		await page.fill('textarea[name=value]', '{"typed": ')
		await page.fill('form.write input[name=message]', 'broken')
		await page.click('form.write button:has-text("Review")')
		await opened(page, '#value-problem')
		await page.fill('textarea[name=value]', '{"typed": true}')
		await page.click('nav a:has-text("History")', {noWaitAfter: true})
		await kept(page, dialogs, 'a link')
	},

	'a gateway that cannot be reached leaves the form and its text': async s => {
		s.allowed.push('ERR_INTERNET_DISCONNECTED', 'ERR_FAILED')
		const page = await s.user({token: world.Tokens.writer})
		await page.goto('/acme/new/')
		await page.fill('input[name=key]', 'tenantconfig/unreachable')
		await page.fill('textarea[name=value]', '"typed with care"')
		await page.fill('form.write input[name=message]', 'offline')
		await page.context().setOffline(true)
		await page.click('form.write button:has-text("Review")')
		await page.waitForSelector('form.write [role=alert]:has-text("cannot be reached")')
		same(await page.inputValue('textarea[name=value]'), '"typed with care"', 'the text')
		await page.context().setOffline(false)
		await commit(page)
		await page.waitForURL('**written=*')
		check((await page.innerText('main')).includes('typed with care'), 'the value was not written')
	},

	'a user without the permission gets no form, or keeps the text': async s => {
		s.allowed.push('403')
		const reader = await s.user({token: world.Tokens.reader})
		same((await reader.goto('/acme/new/')).status(), 403, 'the form of a reader')
		same(await reader.locator('textarea').count(), 0, 'fields of a reader')
		const limited = await s.user({token: world.Tokens.limited})
		await limited.goto('/acme/new/')
		await limited.fill('input[name=key]', 'paramconfig/not/mine')
		await limited.fill('textarea[name=value]', '"typed with care"')
		await limited.fill('form.write input[name=message]', 'denied')
		await limited.click('form.write button:has-text("Review")')
		await limited.waitForSelector('form.write a:has-text("Why was that denied?")')
		same(await limited.inputValue('textarea[name=value]'), '"typed with care"', 'the text')
	},

	'an unchanged value makes no commit': async s => {
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/layout/keys/a/value?edit=1')
		await page.fill('form.write input[name=message]', 'nothing has changed')
		await page.click('form.write button:has-text("Review")')
		await page.waitForSelector('#value-problem:has-text("nothing was written")')
		await page.goto('/layout/history/')
		same(await page.locator('tr[data-revision]').count(), 1, 'commits')
	},
}
