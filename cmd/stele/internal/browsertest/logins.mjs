// Logging in and out.
import {check, login, same, world} from './harness.mjs'

const cookiesOf = async page => (await page.context().cookies(world.URL)).filter(c => c.name.includes('session'))

export const logins = {
	'a pasted token logs in, without scripts': async s => {
		const page = await s.user({scripts: false})
		await page.goto('/acme@42/keys/tenantconfig/')
		same(new URL(page.url()).pathname, '/login', 'an anonymous user')
		await page.click('summary:has-text("With a token")')
		await page.fill('textarea[name=token]', world.Tokens.reader)
		await page.click('form.panel button')
		same(new URL(page.url()).pathname, '/acme@42/keys/tenantconfig/', 'after the login')
		for (const c of await cookiesOf(page)) {
			check(c.httpOnly && c.sameSite === 'Strict' && c.path === '/' && c.expires === -1, `the cookie is ${JSON.stringify(c)}`)
		}
	},

	'an invalid token is explained': async s => {
		s.allowed.push('401')
		const page = await s.user({scripts: false})
		await page.goto('/login')
		await page.click('summary:has-text("With a token")')
		await page.fill('textarea[name=token]', 'nonsense')
		await page.click('form.panel button')
		check((await page.innerText('[role=alert]')).includes('not a JWT'), 'it does not say that this is no token')
		same((await cookiesOf(page)).length, 0, 'cookies')
	},

	'a long token is stored in several cookies': async s => {
		check(world.Tokens.long.length > 7000, 'the token is short')
		const page = await s.user({token: world.Tokens.long})
		check((await cookiesOf(page)).length > 1, 'it is in one cookie')
		same(new URL(page.url()).pathname, '/acme/', 'after the login')
		await page.click('summary:has-text("long")')
		await page.click('text=Log out')
		await page.waitForURL('**/login')
		same((await cookiesOf(page)).length, 0, 'cookies after a logout')
	},

	'the link of stele up works once': async s => {
		s.allowed.push('401')
		const page = await s.user()
		await page.goto(world.Link)
		await page.waitForURL(world.URL + '/')
		check((await page.innerText('main')).includes('globex'), 'an operator sees the tenants')
		await page.goto(world.Link)
		same(page.url(), world.URL + '/', 'the link once more, by the same user')
		const other = await s.user()
		await other.goto(world.Link)
		check((await other.innerText('[role=alert]')).includes('was used before'), 'it does not say why')
		same((await cookiesOf(other)).length, 0, 'cookies of another user')
	},

	'a login at the provider, on another site, redirects back': async s => {
		const page = await s.user()
		await page.goto('/acme@42/')
		await page.click('text=Log in at')
		check(page.url().startsWith(world.Issuer), `the provider is at ${page.url()}`)
		await page.click('button[value=yes]')
		await page.waitForURL(world.URL + '/acme@42/')
		same(await page.innerText('.menu summary'), 'ann', 'who is logged in')
	},

	'a login at the provider works without scripts': async s => {
		const page = await s.user({scripts: false})
		await page.goto('/acme/history/')
		await page.click('text=Log in at')
		await page.click('button[value=yes]')
		await page.waitForURL(world.URL + '/acme/history/')
	},

	'a login that the provider denies': async s => {
		s.allowed.push('401')
		const page = await s.user()
		await page.goto('/login')
		await page.click('text=Log in at')
		await page.click('button[value=no]')
		const said = await page.innerText('[role=alert]')
		check(said.includes('access_denied') && said.includes('<b>no</b>'), `it says ${said}`)
		same((await cookiesOf(page)).length, 0, 'cookies')
	},

	'a login that began in another browser': async s => {
		s.allowed.push('401')
		const page = await s.user()
		await page.goto('/login/callback?state=theirs&code=theirs')
		check((await page.innerText('[role=alert]')).includes('was not begun here'), 'it does not say why')
	},

	'a link from another site finds its user logged in': async s => {
		const page = await s.user({token: world.Tokens.reader})
		await page.goto(world.Issuer + '/nothing') // another site
		await page.evaluate(to => { location.href = to }, world.URL + '/acme@42/keys/paramconfig/db/pool')
		await page.waitForURL(world.URL + '/acme@42/keys/paramconfig/db/pool')
		await page.waitForSelector('.menu summary')
	},

	'another site can change nothing': async s => {
		s.allowed.push('403')
		const page = await s.user({token: world.Tokens.writer})
		await page.goto(world.Issuer + '/nothing')
		await page.setContent(`<form method="post" action="${world.URL}/logout"><button>go</button></form>`)
		await page.click('button')
		await page.waitForURL(world.URL + '/logout')
		await page.goto('/')
		await page.waitForSelector('.menu summary')
	},

	'no redirect to another site after a login': async s => {
		for (const to of ['//evil.example/', '/\\evil.example/', 'https://evil.example/', 'javascript:alert(1)']) {
			const page = await s.user({scripts: false})
			await page.goto('/login?to=' + encodeURIComponent(to))
			await page.click('summary:has-text("With a token")')
			await page.fill('textarea[name=token]', world.Tokens.reader)
			await page.click('form.panel button')
			same(page.url(), world.URL + '/acme/', to)
		}
	},

	'after a logout, going back shows nothing': async s => {
		const page = await s.user({token: world.Tokens.reader})
		await page.goto('/acme/keys/paramconfig/db/pool')
		await page.click('.menu summary')
		await page.click('text=Log out')
		await page.waitForURL('**/login')
		await page.goBack()
		await page.waitForTimeout(500)
		same(new URL(page.url()).pathname, '/login', 'one step back')
	},
}
