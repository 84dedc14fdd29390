// Package text reads the encodings of text files.
package text

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// The byte order marks that files begin with.
var (
	markUTF8    = []byte{0xef, 0xbb, 0xbf}
	markUTF16LE = []byte{0xff, 0xfe}
	markUTF16BE = []byte{0xfe, 0xff}
)

// UTF8 returns a file's text as UTF-8, without a byte order mark. UTF-16 is known by its
// mark, or by the zero byte that every other character has in JSON.
func UTF8(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, markUTF8):
		data = data[len(markUTF8):]
	case bytes.HasPrefix(data, markUTF16LE):
		return fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, markUTF16BE):
		return fromUTF16(data[2:], binary.BigEndian)
	case len(data) >= 2 && data[0] != 0 && data[1] == 0:
		return fromUTF16(data, binary.LittleEndian)
	case len(data) >= 2 && data[0] == 0 && data[1] != 0:
		return fromUTF16(data, binary.BigEndian)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is neither UTF-8 nor UTF-16 text")
	}
	return data, nil
}

func fromUTF16(data []byte, order binary.ByteOrder) ([]byte, error) {
	if len(data)%2 != 0 {
		return nil, errors.New("it looks like UTF-16 and ends inside a character")
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units))), nil
}

// Latin1 returns a file's text as UTF-8, as UTF8 does; text in no other encoding is
// read as ISO 8859-1, which latin1 reports.
func Latin1(data []byte) (plain []byte, latin1 bool) {
	if plain, err := UTF8(data); err == nil {
		return plain, false
	}
	plain = make([]byte, 0, len(data)+len(data)/8)
	for _, c := range data {
		plain = utf8.AppendRune(plain, rune(c))
	}
	return plain, true
}
