package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

const revision = "0123456789abcdef0123456789abcdef01234567"

func noted(settings ...debug.BuildSetting) *debug.BuildInfo {
	return &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: settings}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	ofGo := runtime.Version()
	vcs := debug.BuildSetting{Key: "vcs.revision", Value: revision}
	dirty := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for name, c := range map[string]struct {
		noted           *debug.BuildInfo
		version, commit string
		want            Info
		text            string
	}{
		"nothing":           {nil, "", "", Info{"unknown", "", false, ofGo}, "unknown (" + ofGo + ")"},
		"a module":          {noted(), "", "", Info{"v1.2.3", "", false, ofGo}, "v1.2.3 (" + ofGo + ")"},
		"a commit":          {noted(vcs), "", "", Info{"v1.2.3", revision, false, ofGo}, "v1.2.3 (commit 0123456789ab, " + ofGo + ")"},
		"more than that":    {noted(vcs, dirty), "", "", Info{"v1.2.3", revision, true, ofGo}, "v1.2.3 (commit 0123456789ab, modified, " + ofGo + ")"},
		"the linker's":      {noted(vcs, dirty), "v2", "abc", Info{"v2", "abc", false, ofGo}, "v2 (commit abc, " + ofGo + ")"},
		"the linker's part": {noted(vcs), "v2", "", Info{"v2", revision, false, ofGo}, "v2 (commit 0123456789ab, " + ofGo + ")"},
	} {
		got := read(c.noted, c.version, c.commit)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.text, got.String(), name)
	}
}

func TestThisBinary(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, Read().Version)
	require.Equal(t, Read().Version, Version())
	require.Equal(t, runtime.Version(), Read().GoVersion)
}
