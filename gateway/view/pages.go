package view

// Limits of the pages of listings.
const (
	// DefaultPage is the number of items on a page if the request names none.
	DefaultPage = 1000
	// MaxPageBytes is the size after which a page takes no more items, in bytes.
	MaxPageBytes = 1 << 20
)
