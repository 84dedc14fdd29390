import {run} from './harness.mjs'
import {changes} from './change.mjs'
import {hostilities} from './hostile.mjs'
import {logins} from './login.mjs'
import {barriers} from './barriers.mjs'

await run({...logins, ...changes, ...hostilities, ...barriers})
