package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// known gives commands the names that they have in other tools.
func known(root *cobra.Command) {
	for name, aliases := range map[string][]string{
		"get":     {"cat"},
		"list":    {"ls"},
		"set":     {"put"},
		"delete":  {"rm", "del", "unset"},
		"log":     {"history"},
		"tenants": {"namespaces"},
		"base":    {"bases"},
		"cp":      {"copy"},
		"mv":      {"rename", "move"},
		"grep":    {"search", "find"},
		"context": {"contexts", "config"},
	} {
		of, _, err := root.Find([]string{name})
		if err != nil {
			panic(err) // the command is not there: a mistake in this program
		}
		of.Aliases = aliases
	}
}

// elsewhere has what to use for names, below their command, that have no command of their own.
var elsewhere = map[string]string{
	"undo":    "stele revert REV for one commit, stele rollback --to REV for all since",
	"reset":   "stele rollback --to REV",
	"restart": "stele exec PREFIX --restart -- CMD",
	"login":   "--token-file FILE, or $STELE_TOKEN",
	"init":    "stele up",
	"start":   "stele up",
	"console": "the link that stele up prints, or the address of --web, in a browser",
	"ui":      "the link that stele up prints, or the address of --web, in a browser",
	"plan":    "stele apply -f FILE --plan",
	"review":  "stele apply -f FILE --plan",
	"health":  "stele doctor, or stele ready for health checks",

	"tenant list":   "stele tenants",
	"tenant ls":     "stele tenants",
	"tenant create": "stele -t TENANT set KEY VALUE, which creates the tenant",
	"tenant delete": "stele tenant shred TENANT for its secrets; a history is never deleted",
}

// flagsElsewhere has the flags that other tools have in place of ours.
var flagsElsewhere = map[string][]string{
	"limit": {"number"}, "count": {"number"}, "max": {"number"}, "max-count": {"number"},
	"rev": {"at", "to"}, "revision": {"at", "to"}, "version": {"at", "to"}, "time": {"at", "to"},
	"after": {"since"}, "before": {"until"},
	"namespace": {"tenant"}, "comment": {"message"}, "description": {"message"},
	"format": {"output"}, "json": {"output"},
	"force": {"yes"}, "preview": {"dry-run", "plan"},
	"endpoint": {"address"}, "endpoints": {"address"}, "server": {"address"}, "host": {"address"},
}

// friendly makes the errors of arguments name the missing argument, and errors about
// unknown commands and flags an alternative.
func friendly(root *cobra.Command) {
	root.SetFlagErrorFunc(unknownFlag)
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(cmd, args[0])
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		switch check := cmd.Args; {
		case cmd == root:
		case cmd.HasSubCommands() && cmd.Run == nil && cmd.RunE == nil:
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return unknownCommand(cmd, args[0])
				}
				return fmt.Errorf("%s takes a command: %s", cmd.CommandPath(), strings.Join(names(cmd), ", "))
			}
			cmd.RunE = func(*cobra.Command, []string) error { return nil } // else its Args are not checked
		case check != nil:
			cmd.Args = func(cmd *cobra.Command, args []string) error { return missing(cmd, args, check(cmd, args)) }
		}
	}
	visit(root)
}

// unknownCommand is the error of a command that there is not.
func unknownCommand(cmd *cobra.Command, name string) error {
	err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), name)
	_, group, _ := strings.Cut(cmd.CommandPath(), " ")
	if use, ok := elsewhere[strings.TrimSpace(group+" "+name)]; ok {
		return fmt.Errorf("%w; use %s", err, use)
	}
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(name); len(like) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return err
}

// unknownFlag adds a flag of the command with another name to the error of a flag that it does not
// have.
func unknownFlag(cmd *cobra.Command, err error) error {
	unknown := new(pflag.NotExistError)
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	name := unknown.GetSpecifiedName()
	for _, ours := range flagsElsewhere[name] {
		if cmd.Flag(ours) != nil {
			return fmt.Errorf("%w; use --%s", err, ours)
		}
	}
	flags := &cobra.Command{SuggestionsMinimumDistance: 2} // cobra compares only the names of commands
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: f.Name, Hidden: f.Hidden, Run: func(*cobra.Command, []string) {}})
	})
	if like := flags.SuggestionsFor(name); len(like) > 0 {
		return fmt.Errorf("%w; did you mean --%s?", err, strings.Join(like, " or --"))
	}
	return err
}

func names(cmd *cobra.Command) []string {
	var all []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, sub.Name())
		}
	}
	return all
}

// positional are the arguments that a usage line requires, without flags and their values.
func positional(use string) (wants []string) {
	flag := false
	for _, word := range strings.Fields(use)[1:] {
		switch {
		case strings.HasPrefix(word, "["):
		case strings.HasPrefix(word, "-"):
			flag = true
			continue
		case !flag:
			wants = append(wants, word)
		}
		flag = false
	}
	return wants
}

// missing says which argument is missing, or that there are too many, in place of
// cobra's count.
func missing(cmd *cobra.Command, args []string, err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "unknown command ") { // cobra.NoArgs
		return fmt.Errorf("%s takes no arguments: %s", cmd.CommandPath(), strings.Join(args, " "))
	}
	if err == nil || !strings.HasPrefix(err.Error(), "accepts ") && !strings.HasPrefix(err.Error(), "requires at least") {
		return err
	}
	wants := positional(cmd.Use)
	if len(args) < len(wants) {
		return fmt.Errorf("%s is missing", strings.TrimRight(wants[len(args)], "."))
	}
	return fmt.Errorf("too many arguments: %s", strings.Join(args[min(len(args), len(wants)):], " "))
}
