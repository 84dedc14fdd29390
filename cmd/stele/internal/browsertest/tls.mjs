// With TLS, cookies belong to this host and are sent over TLS only.
import {check, login, run, same, world} from './harness.mjs'

await run({
	'cookies are sent to this host only': async s => {
		const page = await s.user({token: world.Tokens.long})
		const cookies = await page.context().cookies(world.URL)
		check(cookies.length > 1, 'no cookies')
		for (const c of cookies) check(c.name.startsWith('__Host-') && c.secure && c.httpOnly && c.sameSite === 'Strict', JSON.stringify(c))
	},

	'a login at the provider redirects back': async s => {
		const page = await s.user()
		await page.goto('/acme/')
		await page.click('text=Log in at')
		await page.click('button[value=yes]')
		await page.waitForURL(world.URL + '/acme/')
		same(await page.innerText('.menu summary'), 'ann', 'who is logged in')
	},
})
