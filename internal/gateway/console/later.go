package console

import (
	"regexp"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// laterCommits are the commits in an error that block a revert.
func laterCommits(err error) []laterCommit {
	failed, _ := detail[*errdetails.PreconditionFailure](err)
	var out []laterCommit
	for _, v := range failed.GetViolations() {
		if v.Type == "LATER_COMMIT" {
			out = append(out, laterCommit{v.Subject, v.Description})
		}
	}
	return out
}

var revisionInText = regexp.MustCompile(`@[1-9][0-9]{0,18}`)

// piece is a part of a message; revision is the commit that it names, empty for text.
type piece struct{ text, revision string }

// pieces cuts a message of the gateway's where it names revisions.
func pieces(message string) []piece {
	var out []piece
	end := 0
	for _, at := range revisionInText.FindAllStringIndex(message, -1) {
		out = append(out, piece{text: message[end:at[0]]}, piece{message[at[0]:at[1]], message[at[0]+1 : at[1]]})
		end = at[1]
	}
	return append(out, piece{text: message[end:]})
}
