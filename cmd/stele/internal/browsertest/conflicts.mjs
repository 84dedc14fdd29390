// Another user's change while a form was filled in, and what schemas say about a value.
import {check, opened, same, world} from './harness.mjs'

export const conflicts = {}

const main = async page => (await page.innerText('main')).replace(/\s+/g, ' ')

// collide opens a form, and writes another value before it is sent.
async function collide(s, page, path, mine, theirs) {
	await page.goto(path + '?edit=1')
	await page.fill('textarea[name=value]', mine)
	const other = await s.user({scripts: false, token: world.Tokens.operator})
	await other.goto(path + '?edit=1')
	await other.fill('textarea[name=value]', theirs)
	await other.click('form.write button:has-text("Review")')
	await other.fill('form.write input[name=message]', 'the other change')
	await other.click('form.write button:has-text("Commit")')
	await page.click('form.write button:has-text("Review")')
	await page.waitForSelector('.merge')
}

for (const [theme, width] of [['light', 1280], ['dark', 1280], ['light', 400], ['dark', 400]]) {
	conflicts[`changes are merged, ${theme}, ${width} px`] = async s => {
		s.allowed.push('409')
		const page = await s.user({theme, width, token: world.Tokens.operator})
		const path = `/merged-${theme}-${width}/keys/a/value`
		await collide(s, page, path, '{"one": 10, "two": 2, "three": 3}', '{"one": 1, "two": 20, "three": 3}')
		check((await main(page)).includes('do not overlap'), await main(page))
		await s.axe(page, 'the merge')
		await s.picture(page, `merge-${theme}-${width}`)
		await page.click('button:has-text("Review the merge")')
		await page.waitForSelector('h1:text-is("Review")')
		await page.fill('form.write input[name=message]', 'merged')
		await page.click('form.write button:has-text("Commit")')
		await page.waitForURL('**written=*')
		same((await page.innerText('pre.value')).replace(/\s+/g, ''), '{"one":10,"two":20,"three":3}', 'the value')

		await collide(s, page, path, '{"one": 11, "two": 20, "three": 33}', '{"one": 12, "two": 20, "three": 3}')
		await s.axe(page, 'the choice')
		await s.picture(page, `choice-${theme}-${width}`)
		check(await page.evaluate(() => document.documentElement.scrollWidth) <= width, 'the page is too wide')
		await page.click('button:has-text("Review the merge")')
		await opened(page, '.merge .problem')
		await page.focus('.merge input[value=theirs]')
		await page.keyboard.press('Space')
		await page.keyboard.press('Control+Enter')
		await page.waitForSelector('h1:text-is("Review")')
		check((await main(page)).includes('/three was: 3 is: 33'), await main(page))
	}
}

conflicts['the schemas judge a value while it is typed'] = async s => {
	for (const [theme, width] of [['light', 1280], ['dark', 400]]) {
		const page = await s.user({theme, width, token: world.Tokens.writer})
		page.on('dialog', d => d.accept())
		await page.goto('/acme/keys/tenantconfig/checkout/timeout_ms?edit=1')
		check((await main(page)).includes('integer · 1 to 60000'), 'the hint')
		await page.fill('textarea[name=value]', '0')
		await page.waitForSelector('.verdict .tag.bad')
		await s.axe(page, 'the verdict')
		await s.picture(page, `verdict-${theme}-${width}`)
		await page.fill('textarea[name=value]', '7')
		await page.waitForSelector('.verdict .tag.good')
		await page.goto('/acme/new/')
		await page.fill('textarea[name=value]', '"x"')
		await page.fill('input[name=key]', 'tenantconfig/features/judged')
		await page.waitForSelector('.verdict .tag.bad')
	}
}

conflicts['a schema is reviewed before it is set'] = async s => {
	for (const scripts of [true, false]) {
		const page = await s.user({scripts, token: world.Tokens.operator})
		const prefix = scripts ? 'm' : 'n'
		await page.goto(`/many/schemas/${prefix}`)
		await page.fill('textarea[name=value]', '{"type": "number"}')
		await page.click('button:has-text("Review")')
		await page.waitForSelector('h1:text-is("Review")')
		if (scripts) await s.axe(page, 'the review of a schema')
		await page.fill('input[name=message]', 'numbers only')
		await page.click('button:text-is("Set")')
		await page.waitForURL('**written=*')
	}
}

conflicts['rows of a change set have the editor'] = async s => {
	const page = await s.user({token: world.Tokens.operator})
	await page.goto('/many/changes')
	await page.fill('.change-row input[name=key]', 'm/000')
	await page.click('.change-row .json-editor .cm-content')
	await page.keyboard.type('[2')
	await page.waitForFunction(() => document.querySelector('.change-row textarea').value === '[2')
	await page.click('button:has-text("Add a key")')
	await page.waitForFunction(() => document.querySelectorAll('.change-row .json-editor .cm-content, .change-row .json-editor').length === 2)
	await page.locator('.change-row select').first().selectOption('delete')
	await page.waitForSelector('.change-row .json-editor >> nth=0', {state: 'hidden'})
	await s.axe(page, 'the editors of a change set')
	await page.evaluate(() => sessionStorage.clear())
}

conflicts['an unknown prefix is pointed out'] = async s => {
	s.allowed.push('400')
	const page = await s.user({token: world.Tokens.writer})
	for (const path of ['history/?prefix=tenantcnfig/', 'compare?from=@20&prefix=tenantcnfig/', 'rollback?to=@20&prefix=tenantcnfig/']) {
		await page.goto('/acme/' + path)
		check((await page.innerText('main [role=alert]')).includes('check the spelling'), path)
	}
	await page.goto('/acme/history/?prefix=tenantconfig/&author=nobody')
	check((await main(page)).includes('No commit matches'), 'a filter without matches')
}
