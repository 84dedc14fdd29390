//go:build !windows

package host

import "golang.org/x/sys/unix"

// FreeSpace is how many bytes this process can still write to the folder's file system.
func FreeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil //nolint:unconvert // Bavail is signed on FreeBSD
}
