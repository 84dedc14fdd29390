package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// helpWidth is the width, in characters, that help texts fit in.
const helpWidth = 80

// described is the start of a line of a usage text: a command or a flag, up to its description.
var described = regexp.MustCompile(`^ +(?:-\w, )?(?:--)?[\w-]+(?: [^ ]+)? {2,}`)

// wrapUsage wraps the descriptions of commands and flags in usage texts.
func wrapUsage(root *cobra.Command) {
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out, text := cmd.OutOrStderr(), new(bytes.Buffer)
		cmd.SetOut(text)
		err := usage(cmd)
		cmd.SetOut(out)
		for line := range strings.Lines(text.String()) {
			fmt.Fprint(out, wrap(line))
		}
		return err
	})
}

// wrap breaks a line between the words of its description, which stays in its column.
func wrap(line string) string {
	start := described.FindString(line)
	if start == "" || utf8.RuneCountInString(line) <= helpWidth+1 { // the line ends with "\n"
		return line
	}
	b, width := strings.Builder{}, len(start)
	b.WriteString(start)
	for i, word := range strings.Fields(line[len(start):]) {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case width+1+size > helpWidth:
			b.WriteString("\n" + strings.Repeat(" ", len(start)))
			width = len(start)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += size
	}
	return b.String() + "\n"
}
