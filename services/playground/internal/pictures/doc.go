// Package pictures paints pictures whose colours are known and checks whether
// what became of them is still the right picture.
package pictures
