package session

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"golang.org/x/term"
)

// CanAsk reports whether a user can answer.
func (s *Session) CanAsk() bool {
	return s.Format == output.Text && term.IsTerminal(int(os.Stdin.Fd()))
}

// Confirmed asks, unless a flag has answered yes.
func Confirmed(ctx context.Context, yes bool, question string) (bool, error) {
	if yes {
		return true, nil
	}
	answer, err := Ask(ctx, question+" [y/N] ")
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes", err
}

// Ask asks the user at the terminal.
func Ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(output.Stderr, question)
	answer := make(chan string, 1)
	go func() { // ends with the program at the latest: a read from a terminal cannot be called off
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err == io.EOF {
			fmt.Fprintln(os.Stderr)
		}
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return "", ctx.Err()
	case a := <-answer:
		return a, nil
	}
}
