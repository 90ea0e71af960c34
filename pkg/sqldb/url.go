package sqldb

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ErrURL says that a store's URL names no database that can be opened.
var ErrURL = errors.New("bad store URL")

// sqliteFile returns the absolute path of the file that a URL names.
func sqliteFile(url string) (string, error) {
	scheme, file, ok := strings.Cut(url, ":")
	if !ok {
		return "", fmt.Errorf("%w: it has no scheme; use sqlite:FILE", ErrURL)
	}
	switch scheme {
	case "sqlite":
	case "postgres", "postgresql":
		// The URL has a password in it, so it stays out of the error.
		return "", fmt.Errorf("%w: %s: comes with a later version; use sqlite:FILE", ErrURL, scheme)
	default:
		return "", fmt.Errorf("%w: scheme %q is unknown; use sqlite:FILE", ErrURL, scheme)
	}
	switch {
	case file == "":
		return "", fmt.Errorf("%w %q: it names no file; use sqlite:FILE", ErrURL, url)
	case strings.HasPrefix(file, ":"), strings.Contains(file, "?"):
		return "", fmt.Errorf("%w: sqlite:…: only a plain file can be a store, without parameters", ErrURL)
	case strings.HasPrefix(file, "//") && !strings.HasPrefix(file, "///"):
		// A host may have a password with it.
		return "", fmt.Errorf("%w: sqlite://…: a file has no host; use sqlite:FILE or sqlite:///FILE", ErrURL)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("%w %q: %w", ErrURL, url, err)
	}
	return path, nil
}

// Kind is the kind of database that a URL names, such as sqlite. It shows nothing else
// of the URL.
func Kind(url string) string {
	scheme, _, _ := strings.Cut(url, ":")
	return scheme
}
