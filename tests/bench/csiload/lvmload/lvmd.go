package main

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// lvmd asks TopoLVM's daemon. Its messages are few and small, so they are
// written by hand, with the field numbers of its protocol description.
type lvmd struct {
	conn  *grpc.ClientConn
	class string
	size  int64
}

func dial(socket, class string, size int64) (*lvmd, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return &lvmd{conn: conn, class: class, size: size}, err
}

func (l *lvmd) create(ctx context.Context, name string) error {
	return l.call(ctx, "LVService/CreateLV", message{}.text(1, name).text(4, l.class).number(6, l.size))
}

func (l *lvmd) snapshot(ctx context.Context, source, name string) error {
	return l.call(ctx, "LVService/CreateLVSnapshot",
		message{}.text(1, name).text(3, l.class).text(4, source).text(6, "rw").number(7, l.size))
}

func (l *lvmd) remove(ctx context.Context, name string) error {
	return l.call(ctx, "LVService/RemoveLV", message{}.text(1, name).text(2, l.class))
}

func (l *lvmd) list(ctx context.Context) error {
	return l.call(ctx, "VGService/GetLVList", message{}.text(1, l.class))
}

func (l *lvmd) call(ctx context.Context, method string, request message) error {
	var answer message
	err := l.conn.Invoke(ctx, "/proto."+method, &request, &answer, grpc.ForceCodec(plain{}))
	if err == nil && strings.Contains(method, "Create") && len(answer) == 0 {
		return errors.New("lvmd answered without a volume")
	}
	return err
}

type message []byte

func (m message) text(field protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func (m message) number(field protowire.Number, v int64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(v))
}

// plain passes encoded messages through.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error)      { return *v.(*message), nil }
func (plain) Unmarshal(data []byte, v any) error { *v.(*message) = message(data); return nil }
func (plain) Name() string                       { return "proto" }
