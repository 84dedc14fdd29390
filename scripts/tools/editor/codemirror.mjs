// The parts of CodeMirror that the console's JSON editor uses, as one script with the
// global name CodeMirror.
export {defaultKeymap, history, historyKeymap} from '@codemirror/commands'
export {json, jsonParseLinter} from '@codemirror/lang-json'
export {HighlightStyle, bracketMatching, indentOnInput, syntaxHighlighting} from '@codemirror/language'
export {forEachDiagnostic, lintGutter, linter} from '@codemirror/lint'
export {Annotation} from '@codemirror/state'
export {EditorView, keymap, lineNumbers} from '@codemirror/view'
export {tags} from '@lezer/highlight'
