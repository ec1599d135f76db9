package main

// What a filter in Go needs of Sluice: blocks, settings, exports.
//
// Getting bytes and numbers allocates nothing; texts are copied.

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Configure reads the settings and says what the plugin wants to see; an error refuses the binding.
var Configure func(binding Binding, needs *Needs) error

// Filter says what becomes of a message.
var Filter func(message Message) Verdict

// Verdict is what becomes of a message.
type Verdict byte

const (
	Drop Verdict = 0
	Pass Verdict = 1
	// Hold holds the queue before the message, which is judged again later.
	Hold Verdict = 2
	// Failed leaves it to the binding's failure policy.
	Failed Verdict = 3
)

// Field is a system field of a message; they are joined in Needs.Fields.
type Field uint32

const (
	QueueOffset    Field = 1
	StoreTime      Field = 2 // Unix milliseconds
	BornTime       Field = 4
	QueueID        Field = 8
	SysFlag        Field = 16
	TagsCode       Field = 32
	ReconsumeTimes Field = 64
)

// Binding is what the plugin is bound to, and its settings.
type Binding struct {
	Topic string
	// Group is empty when bound for all groups.
	Group  string
	params [][2]string
}

// Param is a setting; of equal names the last counts.
func (b Binding) Param(name string) (string, bool) {
	for i := len(b.params) - 1; i >= 0; i-- {
		if b.params[i][0] == name {
			return b.params[i][1], true
		}
	}
	return "", false
}

// Column is a property that every message of a block shows.
type Column uint32

// Needs is what the plugin wants to see of each message.
type Needs struct {
	properties []string
	Fields     Field
	// Body: bodies are wanted.
	Body bool
	// Pure: the verdict depends on the columns alone.
	Pure bool
}

// Property wants a property.
func (n *Needs) Property(name string) Column {
	n.properties = append(n.properties, name)
	return Column(len(n.properties) - 1)
}

type block struct {
	bytes                       []byte
	rows, cols                  uint32
	fields                      Field
	fieldsAt, cellsAt, bodiesAt uint32 // bodiesAt 0: there are none
}

func (b *block) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(b.bytes[at:]) }

// parse checks that header, fields, cells and body cells are all there.
func (b *block) parse(bytes []byte) bool {
	if len(bytes) < 24 {
		return false
	}
	b.bytes = bytes
	version, headerLen := b.u32(0)&0xffff, b.u32(0)>>16
	b.rows, b.cols, b.fields = b.u32(4), b.u32(8), Field(b.u32(12))
	hasBody := b.u32(16)
	if version != 1 || headerLen < 24 || headerLen%8 != 0 || b.rows < 1 || b.rows > 64 || b.fields > 127 || hasBody > 1 {
		return false
	}
	cellsAt := uint64(headerLen) + uint64(bits.OnesCount32(uint32(b.fields)))*uint64(b.rows)*8
	bodiesAt := cellsAt + uint64(b.rows)*uint64(b.cols)*8
	if bodiesAt+uint64(hasBody)*uint64(b.rows)*8 > uint64(len(bytes)) {
		return false
	}
	b.fieldsAt, b.cellsAt, b.bodiesAt = headerLen, uint32(cellsAt), uint32(bodiesAt)*hasBody
	return true
}

func (b *block) pointed(cell uint32) ([]byte, bool) {
	offset, length := uint64(b.u32(cell)), uint64(b.u32(cell+4))
	if length == 0xffffffff || offset+length > uint64(len(b.bytes)) {
		return nil, false
	}
	return b.bytes[offset : offset+length], true
}

// Message is a message of the block at hand. It and its bytes are valid during the call only.
type Message struct {
	block *block
	row   uint32
}

// Get is a property's bytes; false when the message has none of that name.
func (m Message) Get(column Column) ([]byte, bool) {
	if uint32(column) >= m.block.cols {
		return nil, false
	}
	return m.block.pointed(m.block.cellsAt + (m.row*m.block.cols+uint32(column))*8)
}

// Text is a property as a text, copied.
func (m Message) Text(column Column) (string, bool) {
	bytes, ok := m.Get(column)
	return string(bytes), ok
}

// Int is a property read as a whole number of up to 18 digits.
func (m Message) Int(column Column) (int64, bool) {
	bytes, ok := m.Get(column)
	if !ok || len(bytes) == 0 {
		return 0, false
	}
	negative := bytes[0] == '-'
	if negative || bytes[0] == '+' {
		bytes = bytes[1:]
	}
	if len(bytes) == 0 || len(bytes) > 18 {
		return 0, false
	}
	var sum int64
	for _, digit := range bytes {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		sum = sum*10 + int64(digit-'0')
	}
	if negative {
		sum = -sum
	}
	return sum, true
}

// Body is the body, decompressed; false when Needs.Body did not ask for it.
func (m Message) Body() ([]byte, bool) {
	if m.block.bodiesAt == 0 {
		return nil, false
	}
	return m.block.pointed(m.block.bodiesAt + m.row*8)
}

// Field is a system field; false when Needs.Fields did not ask for it.
func (m Message) Field(field Field) (int64, bool) {
	if m.block.fields&field == 0 {
		return 0, false
	}
	place := uint32(bits.OnesCount32(uint32(m.block.fields & (field - 1))))
	at := m.block.fieldsAt + (place*m.block.rows+m.row)*8
	return int64(binary.LittleEndian.Uint64(m.block.bytes[at:])), true
}

//go:wasmimport sluice:plugin/host@0.1.0 log
func hostLog(level uint32, at unsafe.Pointer, length uint32)

//go:wasmimport sluice:plugin/host@0.1.0 counter-add
func hostCounterAdd(at unsafe.Pointer, length uint32, delta uint64)

// Now is the newest store time of the block in Unix milliseconds; never the wall clock.
//
//go:wasmimport sluice:plugin/host@0.1.0 now
func Now() uint64

// Info writes a line for "sluice plugin logs", of at most 1 KiB.
func Info(message string) {
	hostLog(1, unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

// CounterAdd adds to a counter of the plugin's own.
func CounterAdd(name string, delta uint64) {
	hostCounterAdd(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), delta)
}

var (
	// held is what the broker has allocated for the call, so that it is not collected.
	held [][]byte
	// spare is the buffer of the last call, for the next one.
	spare []byte
	// words is an answer; what they point to is kept until the next one.
	words    [6]uint32
	verdicts [64]byte
	needs    Needs
	names    [][2]uint32
	refusal  string
)

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldLength, align, length uint32) unsafe.Pointer {
	size := int(length) + 8
	piece := spare
	if cap(piece) < size {
		piece = make([]byte, size)
	}
	spare = nil
	piece = piece[:cap(piece)]
	held = append(held, piece)
	copy(piece, unsafe.Slice((*byte)(old), oldLength))
	// Go aligns a slice of this size at 8 or more, which is all that the interface asks for.
	return unsafe.Pointer(unsafe.SliceData(piece))
}

func giveBack() {
	if len(held) > 0 {
		spare = held[len(held)-1]
	}
	clear(held)
	held = held[:0]
}

func text(at unsafe.Pointer, length uint32) string {
	return string(unsafe.Slice((*byte)(at), length))
}

func address(at unsafe.Pointer) uint32 { return uint32(uintptr(at)) }

//go:wasmexport configure
func configure(topic unsafe.Pointer, topicLength uint32, group unsafe.Pointer, groupLength uint32, params unsafe.Pointer, paramsLength uint32) unsafe.Pointer {
	binding := Binding{Topic: text(topic, topicLength), Group: text(group, groupLength)}
	for _, pair := range unsafe.Slice((*[4]uint32)(params), paramsLength) {
		// 32-bit addresses: a pointer of Go's has 64 bits here.
		name := text(unsafe.Add(nil, pair[0]), pair[1])
		value := text(unsafe.Add(nil, pair[2]), pair[3])
		binding.params = append(binding.params, [2]string{name, value})
	}
	giveBack()
	needs = Needs{}
	if err := Configure(binding, &needs); err != nil {
		refusal = err.Error()
		words = [6]uint32{1, address(unsafe.Pointer(unsafe.StringData(refusal))), uint32(len(refusal))}
		return unsafe.Pointer(&words)
	}
	names = names[:0]
	for _, name := range needs.properties {
		names = append(names, [2]uint32{address(unsafe.Pointer(unsafe.StringData(name))), uint32(len(name))})
	}
	words = [6]uint32{0, address(unsafe.Pointer(unsafe.SliceData(names))), uint32(len(names)), bit(needs.Body), uint32(needs.Fields), bit(needs.Pure)}
	return unsafe.Pointer(&words)
}

func bit(yes bool) uint32 {
	if yes {
		return 1
	}
	return 0
}

//go:wasmexport filter-batch
func filterBatch(at unsafe.Pointer, length uint32) unsafe.Pointer {
	var b block
	if !b.parse(unsafe.Slice((*byte)(at), length)) {
		panic("the block is malformed")
	}
	for row := range b.rows {
		verdicts[row] = byte(Filter(Message{&b, row}))
	}
	giveBack()
	words = [6]uint32{address(unsafe.Pointer(&verdicts)), b.rows}
	return unsafe.Pointer(&words)
}
