// Loads a compose file as Docker Compose does, with the library that Compose itself is made with, and prints what it understood as JSON.
// Never asks an engine, nor the environment for values.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: compose-load FILE PROFILE...")
		os.Exit(64)
	}
	options, err := cli.NewProjectOptions([]string{os.Args[1]}, cli.WithProfiles(os.Args[2:]), cli.WithResolvedPaths(true))
	if err == nil {
		project, problem := options.LoadProject(context.Background())
		if err = problem; err == nil {
			var text []byte
			if text, err = project.MarshalJSON(); err == nil {
				fmt.Println(string(text))
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(65)
}
