// Package sqldb opens the SQL databases that stores are built on, migrates
// them and tells their errors apart. Stores name a database by URL:
//
//	sqlite:FILE    an SQLite file, made together with its folder if missing
//
// Other schemes, postgres: first of all, come later.
package sqldb
