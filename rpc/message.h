/* Messages between protobuf-c and gRPC's byte buffers.  Inside rpc/ only. */
#pragma once

#include "base/arena.h"

#include <grpc/byte_buffer.h>
#include <protobuf-c/protobuf-c.h>

/* Serialises a message.  Free with grpc_byte_buffer_destroy(). */
grpc_byte_buffer *message_pack(const ProtobufCMessage *message);

/* The content of a byte buffer in one piece.  Release with grpc_slice_unref(). */
grpc_slice message_bytes(grpc_byte_buffer *buffer);

/* A new message of a type, with its defaults. */
ProtobufCMessage *message_create(const ProtobufCMessageDescriptor *type, struct arena *arena);
