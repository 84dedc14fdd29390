import {run} from './harness.mjs'
import {accessibility} from './accessibility.mjs'
import {changes} from './changes.mjs'
import {editor} from './editor.mjs'
import {hostilities} from './hostile.mjs'
import {live} from './live.mjs'
import {logins} from './logins.mjs'
import {reviews} from './reviews.mjs'
import {search} from './search.mjs'
import {states} from './states.mjs'
import {unsaved} from './unsaved.mjs'

await run({...logins, ...changes, ...reviews, ...search, ...unsaved, ...editor, ...states, ...live, ...hostilities, ...accessibility})
