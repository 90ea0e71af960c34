package catalogue

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/descriptorpb"
)

// sourceFile is a file as announced.
type sourceFile struct {
	raw   []byte
	proto *descriptorpb.FileDescriptorProto
}

// importGraph orders files so that imports come first.
type importGraph struct {
	files map[string]*sourceFile
	// Ways to follow imports from a file, itself included; 0 while its imports
	// are being visited.
	paths  map[string]int
	budget int
	order  []*sourceFile
}

// importsFirst returns the files ordered by their imports and then by name. It
// fails, naming the file, when an import is missing, when files import each other
// in a circle, and when there are more than maxPaths ways through the imports.
func importsFirst(files map[string]*sourceFile, maxPaths int) ([]*sourceFile, error) {
	g := importGraph{files: files, paths: make(map[string]int, len(files)), budget: maxPaths}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, visited := g.paths[name]; visited {
			continue
		}
		if err := g.visit(name); err != nil {
			return nil, err
		}
	}
	return g.order, nil
}

func (g *importGraph) visit(name string) error {
	g.paths[name] = 0
	file := g.files[name]
	paths := 1
	for _, dep := range g.imports(file.proto) {
		if g.files[dep] == nil {
			return fmt.Errorf("file %q imports %q, which is not among the files", name, dep)
		}
		if seen, visited := g.paths[dep]; visited && seen == 0 {
			return fmt.Errorf("file %q imports %q, which imports it in turn", name, dep)
		} else if !visited {
			if err := g.visit(dep); err != nil {
				return err
			}
		}
		paths += g.paths[dep]
	}
	if g.budget -= paths; g.budget < 0 {
		return fmt.Errorf("%w: too many ways through the imports, counted up to file %q", ErrLimit, name)
	}
	g.paths[name] = paths
	g.order = append(g.order, file)
	return nil
}

// imports returns the imports of a file: all that it has ordinarily, and of
// those that only its options need the ones that are there.
func (g *importGraph) imports(file *descriptorpb.FileDescriptorProto) []string {
	if len(file.GetOptionDependency()) == 0 {
		return file.GetDependency()
	}
	out := slices.Clone(file.GetDependency())
	for _, dep := range file.GetOptionDependency() {
		if g.files[dep] != nil {
			out = append(out, dep)
		}
	}
	return out
}
