// Writes to a Thermocline by Arrow Flight as Go programs do: arrow-go ADDRESS TABLE ROWS TIER COMPRESSION; one line of JSON on stdout.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	baseNs    = 1_700_000_000_000_000_000
	batchRows = 20_000
)

// A column whose values follow from the id of their row; the same as in python/flight.py.
type column struct {
	name   string
	typ    arrow.DataType
	append func(builder array.Builder, id int64)
}

func modulo(id, by int64) int64 { return id % by }
func prefixed(id int64) string  { return "v" + strconv.FormatInt(id, 10) }
func key(id int64) string       { return "k" + strconv.FormatInt(id%7, 10) }

func stamp(unit arrow.TimeUnit, zone string) arrow.DataType {
	return &arrow.TimestampType{Unit: unit, TimeZone: zone}
}

// The factor of the column `big`, 12345678901234567.00000000000000000001, times 10^20.
var bigFactor = must(decimal256.FromString("12345678901234567.00000000000000000001", 37, 20))

var columns = []column{
	{"ts", stamp(arrow.Nanosecond, "UTC"), func(b array.Builder, id int64) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(baseNs + id*1_000_003))
	}},
	{"id", arrow.PrimitiveTypes.Int64, func(b array.Builder, id int64) { b.(*array.Int64Builder).Append(id) }},
	{"flag", arrow.FixedWidthTypes.Boolean, func(b array.Builder, id int64) { b.(*array.BooleanBuilder).Append(id%3 == 0) }},
	{"i8", arrow.PrimitiveTypes.Int8, func(b array.Builder, id int64) { b.(*array.Int8Builder).Append(int8(modulo(id, 256) - 128)) }},
	{"i16", arrow.PrimitiveTypes.Int16, func(b array.Builder, id int64) {
		b.(*array.Int16Builder).Append(int16(modulo(id, 65536) - 32768))
	}},
	{"i32", arrow.PrimitiveTypes.Int32, func(b array.Builder, id int64) { b.(*array.Int32Builder).Append(int32(id - 1<<31)) }},
	{"u8", arrow.PrimitiveTypes.Uint8, func(b array.Builder, id int64) { b.(*array.Uint8Builder).Append(uint8(id)) }},
	{"u16", arrow.PrimitiveTypes.Uint16, func(b array.Builder, id int64) { b.(*array.Uint16Builder).Append(uint16(id)) }},
	{"u32", arrow.PrimitiveTypes.Uint32, func(b array.Builder, id int64) { b.(*array.Uint32Builder).Append(uint32(id + 4_000_000_000)) }},
	{"u64", arrow.PrimitiveTypes.Uint64, func(b array.Builder, id int64) { b.(*array.Uint64Builder).Append(uint64(id) + 1<<63) }},
	{"f16", arrow.FixedWidthTypes.Float16, func(b array.Builder, id int64) {
		b.(*array.Float16Builder).Append(float16.New(float32(id%1000) / 4))
	}},
	{"f32", arrow.PrimitiveTypes.Float32, func(b array.Builder, id int64) { b.(*array.Float32Builder).Append(float32(id%1000) / 4) }},
	{"f64", arrow.PrimitiveTypes.Float64, func(b array.Builder, id int64) { b.(*array.Float64Builder).Append(float64(id) / 8) }},
	{"maybe", arrow.PrimitiveTypes.Int64, func(b array.Builder, id int64) {
		if id%2 == 0 {
			b.(*array.Int64Builder).Append(id)
		} else {
			b.AppendNull()
		}
	}},
	{"text", arrow.BinaryTypes.String, func(b array.Builder, id int64) { b.(*array.StringBuilder).Append(prefixed(id)) }},
	{"large_text", arrow.BinaryTypes.LargeString, func(b array.Builder, id int64) { b.(*array.LargeStringBuilder).Append(prefixed(id)) }},
	{"view_text", arrow.BinaryTypes.StringView, func(b array.Builder, id int64) {
		b.(*array.StringViewBuilder).Append("a text that is too long for a view: " + prefixed(id))
	}},
	{"word", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String},
		func(b array.Builder, id int64) { check(b.(*array.BinaryDictionaryBuilder).AppendString(key(id))) }},
	{"bytes", arrow.BinaryTypes.Binary, func(b array.Builder, id int64) {
		b.(*array.BinaryBuilder).Append([]byte(strconv.FormatInt(id, 10)))
	}},
	{"view_bytes", arrow.BinaryTypes.BinaryView, func(b array.Builder, id int64) {
		b.(*array.BinaryViewBuilder).Append([]byte(strconv.FormatInt(id, 10)))
	}},
	{"fixed_bytes", &arrow.FixedSizeBinaryType{ByteWidth: 8}, func(b array.Builder, id int64) {
		b.(*array.FixedSizeBinaryBuilder).Append(fmt.Appendf(nil, "%08d", id))
	}},
	{"day", arrow.FixedWidthTypes.Date32, func(b array.Builder, id int64) { b.(*array.Date32Builder).Append(arrow.Date32(id % 30000)) }},
	{"day_ms", arrow.FixedWidthTypes.Date64, func(b array.Builder, id int64) {
		b.(*array.Date64Builder).Append(arrow.Date64(id % 30000 * 86_400_000))
	}},
	{"at_s", stamp(arrow.Second, "UTC"), func(b array.Builder, id int64) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(1_700_000_000 + id))
	}},
	{"at_ms", stamp(arrow.Millisecond, "UTC"), func(b array.Builder, id int64) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(1_700_000_000_000 + id))
	}},
	{"at_us", stamp(arrow.Microsecond, ""), func(b array.Builder, id int64) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(1_700_000_000_000_000 + id))
	}},
	{"took", arrow.FixedWidthTypes.Duration_ms, func(b array.Builder, id int64) {
		b.(*array.DurationBuilder).Append(arrow.Duration(id))
	}},
	{"price", &arrow.Decimal128Type{Precision: 18, Scale: 4}, func(b array.Builder, id int64) {
		b.(*array.Decimal128Builder).Append(decimal128.FromI64(-625 * id))
	}},
	{"big", &arrow.Decimal256Type{Precision: 57, Scale: 20}, func(b array.Builder, id int64) {
		b.(*array.Decimal256Builder).Append(bigFactor.Mul(decimal256.FromI64(id)))
	}},
	{"place", arrow.StructOf(
		arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		arrow.Field{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	), func(b array.Builder, id int64) {
		place := b.(*array.StructBuilder)
		place.Append(true)
		place.FieldBuilder(0).(*array.Int64Builder).Append(id)
		place.FieldBuilder(1).(*array.StringBuilder).Append(prefixed(id))
	}},
	{"vector", arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), func(b array.Builder, id int64) {
		vector := b.(*array.FixedSizeListBuilder)
		vector.Append(true)
		value := float32(id%1000) / 4
		vector.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{value, value}, nil)
	}},
	{"ints", arrow.ListOf(arrow.PrimitiveTypes.Int32), func(b array.Builder, id int64) {
		ints := b.(*array.ListBuilder)
		ints.Append(true)
		ints.ValueBuilder().(*array.Int32Builder).AppendValues([]int32{int32(id), int32(id)}, nil)
	}},
	{"longs", arrow.ListOf(arrow.PrimitiveTypes.Int64), func(b array.Builder, id int64) {
		longs := b.(*array.ListBuilder)
		longs.Append(true)
		longs.ValueBuilder().(*array.Int64Builder).AppendValues([]int64{id, id}, nil)
	}},
	{"doubles", arrow.ListOf(arrow.PrimitiveTypes.Float64), func(b array.Builder, id int64) {
		doubles := b.(*array.ListBuilder)
		doubles.Append(true)
		value := float64(id) / 4
		doubles.ValueBuilder().(*array.Float64Builder).AppendValues([]float64{value, value}, nil)
	}},
	{"texts", arrow.LargeListOf(arrow.BinaryTypes.String), func(b array.Builder, id int64) {
		texts := b.(*array.LargeListBuilder)
		texts.Append(true)
		text := strconv.FormatInt(id, 10)
		texts.ValueBuilder().(*array.StringBuilder).AppendValues([]string{text, text}, nil)
	}},
	{"labels", arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String), func(b array.Builder, id int64) {
		labels := b.(*array.MapBuilder)
		labels.Append(true)
		labels.KeyBuilder().(*array.StringBuilder).Append(key(id))
		labels.ItemBuilder().(*array.StringBuilder).Append(prefixed(id))
	}},
}

type answer struct {
	Rows    int64 `json:"rows"`
	Batches int   `json:"batches"`
	Columns int   `json:"columns"`
}

func main() {
	if len(os.Args) != 6 {
		check(errors.New("usage: arrow-go ADDRESS TABLE ROWS TIER COMPRESSION"))
	}
	rows := must(strconv.ParseInt(os.Args[3], 10, 64))
	batches := must(put(os.Args[1], os.Args[2], rows, os.Args[4], os.Args[5]))
	check(json.NewEncoder(os.Stdout).Encode(answer{rows, batches, len(columns)}))
}

// DoPut of `rows` rows, acknowledged batch by batch. Answers the number of acknowledgements.
func put(address, table string, rows int64, tier, compression string) (int, error) {
	client, err := flight.NewClientWithMiddleware(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	stream, err := client.DoPut(metadata.AppendToOutgoingContext(context.Background(), "x-tier", tier))
	if err != nil {
		return 0, err
	}
	options := []ipc.Option{ipc.WithSchema(schema())}
	switch compression {
	case "lz4":
		options = append(options, ipc.WithLZ4())
	case "zstd":
		options = append(options, ipc.WithZstd())
	}
	writer := flight.NewRecordWriter(stream, options...)
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{table}})
	acks := make(chan error, 1)
	received := 0
	go func() {
		for {
			result, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				acks <- nil
				return
			}
			if err == nil && string(result.AppMetadata) != strconv.Itoa(received) {
				err = fmt.Errorf("acknowledgement %q, expected %d", result.AppMetadata, received)
			}
			if err != nil {
				acks <- err
				return
			}
			received++
		}
	}()
	if err := write(writer, rows); err != nil {
		// The server's own reason, when there is one.
		return received, errors.Join(<-acks, err)
	}
	if err := stream.CloseSend(); err != nil {
		return received, err
	}
	return received, <-acks
}

func schema() *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, column := range columns {
		fields[i] = arrow.Field{Name: column.name, Type: column.typ, Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

func write(writer *flight.Writer, rows int64) error {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema())
	defer builder.Release()
	sent := 0
	for first := int64(0); first < rows; first += batchRows {
		for id := first; id < min(first+batchRows, rows); id++ {
			for i, column := range columns {
				column.append(builder.Field(i), id)
			}
		}
		batch := builder.NewRecordBatch()
		err := writer.WriteWithAppMetadata(batch, []byte(strconv.Itoa(sent)))
		batch.Release()
		if err != nil {
			return err
		}
		sent++
	}
	return writer.Close()
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
