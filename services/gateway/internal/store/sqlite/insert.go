package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// manyRows is how many rows of a shape one statement inserts.
const manyRows = 16

// table says how rows are inserted into a table. What a statement costs grows
// with its parameters, and most columns of most rows are at their zero: so there
// are statements for the columns that rows often have, with the others as
// literals. The last shape is all columns, for any other row.
type table struct {
	name    string
	columns []column
	shapes  []shape
}

// column is one of a table. In the values of a row nil stands for its zero.
type column struct {
	name string
	zero any
}

// shape is some columns of a table, by their indices.
type shape []int

// newTable makes a table with shapes that are columns, separated by spaces.
// Those with fewer columns go first.
func newTable(name string, columns []column, shapes ...string) *table {
	t := &table{name: name, columns: columns}
	all := make(shape, len(columns))
	for i := range all {
		all[i] = i
	}
	for _, names := range shapes {
		t.shapes = append(t.shapes, t.shape(strings.Fields(names)))
	}
	t.shapes = append(t.shapes, all)
	return t
}

func (t *table) shape(names []string) shape {
	s := make(shape, 0, len(names))
	for i, c := range t.columns {
		if slices.Contains(names, c.name) {
			s = append(s, i)
		}
	}
	if len(s) != len(names) {
		panic(fmt.Sprintf("table %s has no such columns: %s", t.name, names))
	}
	return s
}

// covers says whether a shape has all columns in which a row is not zero.
func (s shape) covers(row []any) bool {
	next := 0
	for i, v := range row {
		if next < len(s) && s[next] == i {
			next++
		} else if v != nil {
			return false
		}
	}
	return true
}

// query inserts rows of a shape. Columns that are NULL are left out. A row that
// fails ends the transaction, so the statement need not be able to undo those
// before it, which FAIL spares.
func (t *table) query(s shape, rows int) string {
	var names, values []string
	for i, c := range t.columns {
		value := "?"
		if !slices.Contains(s, i) {
			if c.zero == nil {
				continue
			}
			value = literal(c.zero)
		}
		names, values = append(names, c.name), append(values, value)
	}
	row := "(" + strings.Join(values, ", ") + ")"
	return "INSERT OR FAIL INTO " + t.name + " (" + strings.Join(names, ", ") + ") VALUES " +
		row + strings.Repeat(", "+row, rows-1)
}

func literal(v any) string {
	switch v := v.(type) {
	case string:
		return "'" + v + "'"
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	}
	return fmt.Sprint(v)
}

// update sets the columns of a shape in the row with a key.
func (t *table) update(s shape, key string) string {
	var set []string
	for _, i := range s {
		set = append(set, t.columns[i].name+" = ?")
	}
	return "UPDATE " + t.name + " SET " + strings.Join(set, ", ") + " WHERE " + key + " = ?"
}

// args appends the values of a row that are in a shape.
func (t *table) args(args []any, s shape, row []any) []any {
	for _, i := range s {
		v := row[i]
		if v == nil {
			v = t.columns[i].zero
		}
		args = append(args, v)
	}
	return args
}

// tableStmts are the statements of a table, by the index of the shape: of one
// row, and of many.
type tableStmts struct {
	table     *table
	one, many []*sql.Stmt
}

func (t *tableStmts) prepare(ctx context.Context, db *sql.DB) error {
	for _, s := range t.table.shapes {
		one, err := db.PrepareContext(ctx, t.table.query(s, 1)) //nolint:sqlclosecheck // statements.close does
		if err != nil {
			return err
		}
		t.one = append(t.one, one)
		many, err := db.PrepareContext(ctx, t.table.query(s, manyRows)) //nolint:sqlclosecheck // statements.close does
		if err != nil {
			return err
		}
		t.many = append(t.many, many)
	}
	return nil
}

// inserter inserts rows into a table, in no order. Rows wait until there are
// many of one shape, or for flush.
type inserter struct {
	tx    *sql.Tx
	stmts *tableStmts
	// waiting are the arguments of rows, by shape.
	waiting [][]any
}

func newInserter(tx *sql.Tx, stmts *tableStmts) inserter {
	return inserter{tx: tx, stmts: stmts, waiting: make([][]any, len(stmts.table.shapes))}
}

// add takes a row: a value for each column. It does not keep the slice.
func (n *inserter) add(ctx context.Context, row []any) error {
	t := n.stmts.table
	s := slices.IndexFunc(t.shapes, func(s shape) bool { return s.covers(row) })
	args := t.args(n.waiting[s], t.shapes[s], row)
	if n.waiting[s] = args; len(args) < manyRows*len(t.shapes[s]) {
		return nil
	}
	n.waiting[s] = args[:0]
	stmt := n.tx.StmtContext(ctx, n.stmts.many[s]) //nolint:sqlclosecheck // it ends with the transaction
	_, err := stmt.ExecContext(ctx, args...)
	return err
}

// flush inserts the rows that wait.
func (n *inserter) flush(ctx context.Context) error {
	for s, args := range n.waiting {
		if len(args) == 0 {
			continue
		}
		n.waiting[s] = args[:0]
		stmt := n.tx.StmtContext(ctx, n.stmts.one[s])
		for row := range slices.Chunk(args, len(n.stmts.table.shapes[s])) {
			if _, err := stmt.ExecContext(ctx, row...); err != nil {
				return err
			}
		}
	}
	return nil
}

// nonZero is a column's value: nil for the zero.
func nonZero[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}
