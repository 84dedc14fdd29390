// Pages never show a false state.
import {check, commit, same, world} from './harness.mjs'
import {writeFile} from 'node:fs/promises'
import {join} from 'node:path'

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

export const states = {
	'a sink that has drifted is not up to date': async s => {
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/drifted/keys/a/one')
		await page.waitForSelector('#sinks .tag:has-text("up to date")')
		await writeFile(join(world.Files, 'drifted/a/one'), 'changed by hand')
		const other = await s.user({scripts: false, token: world.Tokens.operator})
		await other.goto('/drifted/projections/files')
		await other.click('button:has-text("Compare all items now")')
		await page.waitForSelector('#sinks .tag:has-text("drifted")')
		same(await page.locator('#sinks .tag:has-text("up to date")').count(), 0, 'tags that say up to date')
	},

	'a key that no sink has shows none as up to date': async s => {
		const operator = await s.user({token: world.Tokens.operator})
		await operator.goto('/drifted/keys/unrouted/one')
		same(await operator.locator('#sinks').count(), 0, 'sinks of a key without a route')
		const reader = await s.user({token: world.Tokens.reader})
		await reader.goto('/acme/keys/paramconfig/db/pool')
		await reader.waitForSelector('#sinks .tag')
		same(await reader.locator('#sinks .tag:has-text("up to date")').count(), 0, 'tags that say up to date without the routes')
	},

	'the tags of sinks follow after a write': async s => {
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/drifted/keys/a/two?edit=1')
		await page.fill('textarea[name=value]', '"again"')
		await page.fill('form.write input[name=message]', 'one more')
		await commit(page)
		await page.waitForURL('**written=*')
		await page.waitForSelector('#sinks .tag:has-text("up to date")')
	},

	'a rollback keeps the prefix of the page it was opened from': async s => {
		s.allowed.push('400')
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/acme@20/keys/tenantconfig/checkout/')
		await page.click('nav a:has-text("Roll back")')
		same(await page.inputValue('main input[name=prefix]'), 'tenantconfig/checkout/', 'the prefix')
		await page.goto('/acme/rollback?to=@20&prefix=tenantcnfig/')
		check((await main(page)).includes('no key is set under "tenantcnfig/"'), 'a mistyped prefix')
	},

	'a mistyped tenant is not compared': async s => {
		s.allowed.push('400')
		const page = await s.user({token: world.Tokens.operator})
		same((await page.goto('/acme/compare?with=globbex')).status(), 400, 'the status')
		check((await main(page)).includes('the tenant globbex does not exist'), 'it is not named')
		same(await page.locator('.change').count(), 0, 'differences')
	},

	'a comparison of tenants has all its pages': async s => {
		const page = await s.user({token: world.Tokens.operator})
		await page.goto('/drifted/compare?with=many')
		same(await page.locator('.change').count(), 100, 'the first page')
		await page.click('main a[rel=next]')
		await page.waitForURL('**skip=100*')
		check(await page.locator('.change').count() > 40, 'the second page')
		same(await page.locator('main a[rel=next]').count(), 0, 'links to a third page')
	},

	'revisions and times are those of the command line': async s => {
		const page = await s.user({scripts: false, token: world.Tokens.operator})
		for (const from of ['@HEAD~1', '@1d', '2h ago', 'yesterday', '@42']) {
			for (const path of ['compare?from=', 'rollback?to=', 'history/?since=']) {
				const response = await page.goto(`/acme/${path}${encodeURIComponent(from)}`)
				same(response.status(), 200, `${path}${from}`)
			}
		}
	},

	'a tenant that does not exist offers no key': async s => {
		s.allowed.push('404')
		const page = await s.user({token: world.Tokens.operator})
		same((await page.goto('/nope/')).status(), 404, 'the status')
		check((await main(page)).includes('nope does not exist'), 'it does not say so')
		same(await page.locator('a:has-text("New key")').count(), 0, 'buttons')
	},

	'retry, skip and replay ask for confirmation': async s => {
		const page = await s.user({scripts: false, token: world.Tokens.operator})
		for (const [action, title] of [['retry', 'Retry'], ['skip', 'Skip'], ['replay', 'Replay']]) {
			await page.goto(`/acme/projections/files/${action}`)
			check((await main(page)).includes('?'), `the question before ${action}`)
			await page.click(`button.danger:has-text("${title}")`)
			await page.waitForSelector('main [role=status], main [role=alert]')
		}
	},
}
