package sqldb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Size is that of the database which a URL names, its write-ahead log included, in
// bytes. Errors: [ErrURL], the file system's.
func Size(url string) (int64, error) {
	file, err := sqliteFile(url)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, name := range []string{file, file + "-wal"} {
		info, err := os.Stat(name)
		switch {
		case err == nil:
			total += info.Size()
		case name == file || !errors.Is(err, fs.ErrNotExist):
			return 0, fmt.Errorf("size of the store: %w", err)
		}
	}
	return total, nil
}
