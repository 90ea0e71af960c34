package images_test

import (
	"encoding/binary"
	"hash/crc32"
)

// putSize writes the size into a PNG's header: the chunk IHDR follows the
// 8 bytes of the signature and ends with a checksum over its type and data.
func putSize(header []byte, width, height uint32) {
	binary.BigEndian.PutUint32(header[16:], width)
	binary.BigEndian.PutUint32(header[20:], height)
	binary.BigEndian.PutUint32(header[29:], crc32.ChecksumIEEE(header[12:29]))
}
