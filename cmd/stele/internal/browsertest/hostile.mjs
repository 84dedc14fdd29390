// User text must never become markup.
import {check, commit, same, world} from './harness.mjs'

export const hostilities = {
	'markup in values, reasons and names stays text': async s => {
		s.allowed.push('409')
		const writer = await s.user({token: world.Tokens.hostile})
		await writer.goto('/acme/keys/tenantconfig/hostile?edit=1')
		await writer.fill('form.write input[name=message]', world.Hostile)
		await writer.fill('textarea[name=value]', JSON.stringify({[world.Hostile]: world.Hostile}))
		await commit(writer)
		await writer.waitForURL('**written=*')
		const at = new URL(writer.url()).searchParams.get('written')
		for (const scripts of [true, false]) {
			const page = await s.user({scripts, token: world.Tokens.hostile})
			page.on('dialog', d => { s.broken.push(`a dialog: ${d.message()}`); d.dismiss() })
			for (const path of [
				'/acme/keys/tenantconfig/', '/acme/keys/tenantconfig/hostile', '/acme/history/', `/acme/commits/${at}`, `/acme/commits/${at}/revert`,
				`/acme/compare?from=@${at - 1}`, `/acme/rollback?to=@${at - 1}`, '/acme/access',
				...['compare?from=', 'compare?prefix=', 'compare?with=', 'rollback?to=', 'rollback?prefix=', 'access?operation=read&what=', 'history/?author=', 'history/?since='].map(p => '/acme/' + p + encodeURIComponent(world.Hostile)),
			]) {
				s.allowed.push('400', '403')
				await page.goto(path)
				await page.waitForTimeout(50)
				const title = await page.title()
				check(!title.includes('pwned'), `${path} ran it`)
				same(await page.locator('main img, main svg:not(.own), main script:not([src])').count(), 0, `elements on ${path}`)
			}
		}
	},
}
