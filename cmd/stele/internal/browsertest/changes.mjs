// Reading, editing, reverting and rolling back.
import {check, commit, same, world, positionOf} from './harness.mjs'

const key = '/acme/keys/tenantconfig/checkout/timeout_ms'

// write sets the value of the key that is shown.
async function write(page, value, reason) {
	await page.fill('textarea[name=value]', value)
	await page.fill('form.write input[name=message]', reason)
	await commit(page)
	await page.waitForURL('**written=*')
}

export const changes = {
	'a change appears live in another window': async s => {
		const one = await s.user({token: world.Tokens.writer}), two = await s.user({token: world.Tokens.reader})
		await two.goto(key)
		await one.goto(key + '?edit=1')
		await write(one, '31337', 'seen elsewhere')
		await two.waitForFunction(() => document.querySelector('main').innerText.includes('31337'))
		check((await two.innerText('main')).includes('seen elsewhere'), 'the history is not new')
	},

	'back in time with the slider': async s => {
		const page = await s.user({token: world.Tokens.reader})
		await page.goto(key)
		await page.focus('#time input[type=range]')
		const position = await positionOf(page, 20)
		await page.$eval('#time input[type=range]', (e, position) => { e.value = position; e.dispatchEvent(new Event('input', {bubbles: true})) }, position)
		await page.waitForURL('**/acme@20/keys/tenantconfig/checkout/timeout_ms')
		check((await page.innerText('main')).includes('440'), 'it is not the value at that revision')
		check((await page.innerText('main')).includes('You are looking at acme@20'), 'the banner is missing')
		check(await page.locator('form.write').count() === 0, 'the past can be edited')
		await page.click('#newest')
		await page.waitForURL('**' + key)
	},

	'back in time without scripts': async s => {
		const page = await s.user({scripts: false, token: world.Tokens.reader})
		await page.goto(key)
		await page.focus('#time input[type=range]')
		await page.keyboard.press('Home')
		await page.click('#time button:has-text("Show")')
		same(new URL(page.url()).pathname, '/acme@1/keys/tenantconfig/checkout/timeout_ms', 'the first revision')
		check((await page.innerText('main')).includes('250'), 'it is not the value at that revision')
		await page.fill('input[name=time]', new Date(Date.now() - 10 * 86400e3).toISOString().slice(0, 19))
		await page.click('text=Go to time')
		check(/^\/acme@3\d\//.test(new URL(page.url()).pathname), `ten days ago is ${page.url()}`)
	},

	'creating and reverting without scripts': async s => {
		const page = await s.user({scripts: false, token: world.Tokens.writer})
		await page.goto('/acme/new/')
		await page.fill('input[name=key]', 'tenantconfig/plain/one')
		await page.fill('textarea[name=value]', '{"a": 1}')
		await page.fill('input[name=message]', 'made without scripts')
		await commit(page)
		await page.click('a:has-text("revert it")')
		check((await page.innerText('main')).includes('tenantconfig/plain/one'), 'the preview')
		await page.click('button:has-text("Revert")')
		check(/\/acme\/commits\/\d+/.test(page.url()), `after the revert: ${page.url()}`)
		await page.goto('/acme/history/')
		check((await page.innerText('main')).includes('made without scripts'), 'the history')
	},

	'an invalid value is reported at its field': async s => {
		s.allowed.push('422')
		const page = await s.user({token: world.Tokens.writer})
		await page.goto(key + '?edit=1')
		await page.fill('textarea[name=value]', '{"a": ')
		await page.fill('form.write input[name=message]', 'broken')
		await page.click('form.write button:has-text("Review")')
		await page.waitForSelector('textarea[name=value][aria-invalid=true]')
		same(await page.inputValue('textarea[name=value]'), '{"a": ', 'what was typed')
	},

	'a rollback, and its revert, without scripts': async s => {
		const page = await s.user({scripts: false, token: world.Tokens.operator})
		await page.goto('/rolled@1/rollback')
		check((await page.innerText('main')).includes('would set 1 key and delete 1 key'), 'the preview')
		await page.fill('input[name=message]', 'the release is rolled back')
		await page.click('button:has-text("Roll back 2 keys")')
		check((await page.innerText('main')).includes('rolled@3 is what rolled@1 was'), 'the result')
		await page.goto('/rolled/keys/a/one')
		check((await page.innerText('main')).includes('"first"'), 'the value')
		await page.goto('/rolled/rollback?done=3')
		await page.click('text=Undo')
		await page.click('button:has-text("Revert")')
		await page.goto('/rolled/keys/a/one')
		check((await page.innerText('main')).includes('"second"'), 'the value after the undoing')
	},

	'a late rollback lists the commits in between': async s => {
		s.allowed.push('409')
		const page = await s.user({scripts: false, token: world.Tokens.operator})
		await page.goto('/raced/rollback?to=@1')
		await page.fill('input[name=message]', 'late')
		const other = await s.user({scripts: false, token: world.Tokens.operator})
		await other.goto('/raced/keys/a/one?edit=1')
		await other.fill('textarea[name=value]', '"between"')
		await other.fill('form.write input[name=message]', 'I was faster')
		await commit(other)
		await page.click('button:has-text("Roll back")')
		const said = await page.innerText('main')
		check(said.includes('another user has written since') && said.includes('I was faster'), said)
		same(await page.inputValue('input[name=message]'), 'late', 'the reason is kept')
		await page.click('button:has-text("Roll back 1 key")')
		check((await page.innerText('main')).includes('raced@5 is what raced@1 was'), 'the second try')
	},

	'comparing two states, and two tenants': async s => {
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/acme/compare')
		await page.fill('input[name=from]', '@20')
		await page.fill('main input[name=to]', '@24')
		await page.click('button:has-text("Compare")')
		await page.waitForURL('**from=*')
		const said = await page.innerText('main')
		check(said.includes('tenantconfig/checkout/timeout_ms') && said.includes('440') && said.includes('480'), said)
		await page.goto('/acme/compare?with=globex&prefix=paramconfig/')
		check((await page.innerText('main')).includes('/hosts'), 'the difference inside of the value')
	},

	'a reader is offered no form, and denied': async s => {
		s.allowed.push('403')
		const page = await s.user({scripts: false, token: world.Tokens.reader})
		for (const path of [key, '/acme/rollback?to=@20', '/acme/projections/files', '/acme/commits/60']) {
			await page.goto(path)
			const buttons = await page.locator('main form[method=post]').count()
			same(buttons, 0, `forms that write on ${path}`)
		}
		await page.goto(key)
		await page.evaluate(() => 0).catch(() => 0)
		const answer = await page.context().request.post(world.URL + key, {
			form: {value: '1', message: 'x', expected: '0', form: 'f'}, headers: {'Sec-Fetch-Site': 'same-origin'},
		})
		same(answer.status(), 403, 'a write by a reader')
		const text = await answer.text()
		check(text.includes('Why was that denied?'), 'it does not lead to the reason')
		const why = text.match(/href="([^"]*access\?[^"]*)"/)[1].replaceAll('&amp;', '&')
		await page.goto(why)
		check((await page.innerText('main')).includes('No, you may not write'), 'the reason')
	},

	'another tenant looks like none': async s => {
		s.allowed.push('404', '403')
		const page = await s.user({token: world.Tokens.writer})
		for (const path of ['/globex/', '/nosuchtenant/', '/globex/keys/tenantconfig/shop/setting_1', '/globex/access', '/globex/compare', '/globex/rollback', '/globex/projections']) {
			same((await page.goto(path)).status(), 404, path)
			check(!(await page.innerText('body')).includes('globex'), `${path} names it`)
		}
		const compared = await page.goto('/acme/compare?with=globex')
		same(compared.status(), 403, 'a comparison with another tenant')
	},

	'comparing and replaying a sink': async s => {
		const page = await s.user({scripts: false, token: world.Tokens.operator})
		await page.goto('/acme/projections')
		await page.click('a:has-text("files")')
		await page.click('button:has-text("Compare all items now")')
		check(/compared with the ledger/.test(await page.innerText('[role=status]')), 'the comparison')
		await page.click('button:has-text("Replay")')
		same(await page.locator('[role=status]').count(), 0, 'a replay without confirmation')
		await page.click('button.danger:has-text("Replay")')
		check(/is being written again/.test(await page.innerText('[role=status]')), 'the replay')
	},

	'a schema is tested, and set, without scripts': async s => {
		s.allowed.push('422')
		const page = await s.user({scripts: false, token: world.Tokens.writer})
		await page.goto('/acme/schemas')
		await page.fill('main input[name=prefix]', 'tenantconfig/mail')
		await page.click('button:has-text("Open")')
		await page.fill('textarea[name=value]', '{"type": "string", "maxLength": 10}')
		await page.click('button:has-text("Check the existing values")')
		check((await page.innerText('main')).includes('It would be violated by'), 'the report')
		await page.click('button:has-text("Review")')
		check((await page.innerText('#problem')).includes('tenantconfig/mail/template_'), 'it may be set although live values break it')
		await page.fill('textarea[name=value]', '{"type": "string"}')
		await page.click('button:has-text("Review")')
		await page.fill('input[name=message]', 'texts only')
		await page.click('button:text-is("Set")')
		check((await page.innerText('main')).includes('and in force'), 'the result')
	},

	'the chart of lags': async s => {
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/acme/projections')
		await page.waitForSelector('#lag-chart canvas')
		await page.waitForFunction(() => JSON.parse(document.getElementById('sinks').dataset.lags).times.length >= 2)
	},
}
