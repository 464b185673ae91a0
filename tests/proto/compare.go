// Compares compiled .proto files with upstream's, as Go modules carry them.
//
// A descriptor is taken apart into facts, a path and a value each:
//
//	field[volume_id].number = 2
//	options.csi.v1.alpha_message = true
//
// The walk is generic: whatever protoc writes into a descriptor becomes a fact, so no property can be forgotten.  Every
// message, enum and service is a case of its own, and passes if both sides have it with the same facts.
//
// Not compared: the name of the file, and the order of what has a name or a number.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

var upstream = map[string]protoreflect.FileDescriptor{
	"csi.proto":          csi.File_csi_proto,
	"health.proto":       health.File_grpc_health_v1_health_proto,
	"registration.proto": registration.File_staging_src_k8s_io_kubelet_pkg_apis_pluginregistration_v1_api_proto,
}

// What opens a case of its own, and what it is called.
var kinds = map[protoreflect.FullName]string{
	"google.protobuf.DescriptorProto":        "message",
	"google.protobuf.EnumDescriptorProto":    "enum",
	"google.protobuf.ServiceDescriptorProto": "service",
}

type facts map[string]string

type cases map[string]facts

// A place in the walk: the case that facts go to, the name that nested types are in, and the path so far.
type place struct {
	title, scope, path string
}

func (p place) in(step string) place {
	p.path += step + "."
	return p
}

func (c cases) note(p place, name string, value any) {
	if c[p.title] == nil {
		c[p.title] = facts{}
	}
	c[p.title][p.path+name] = fmt.Sprint(value)
}

func casesOf(file *descriptorpb.FileDescriptorProto, title string) cases {
	unnamed := proto.Clone(file).(*descriptorpb.FileDescriptorProto)
	unnamed.Name = nil
	all := cases{}
	all.walk(place{title: title, scope: file.GetPackage()}, unnamed.ProtoReflect())
	return all
}

func (c cases) walk(p place, message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList():
			for i := range value.List().Len() {
				c.element(p, field, value.List().Get(i))
			}
		case field.Message() != nil:
			c.walk(p.in(nameOf(field)), value.Message())
		default:
			c.note(p, nameOf(field), text(field, value))
		}
		return true
	})
	if unknown := message.GetUnknown(); len(unknown) > 0 {
		c.note(p, "unknown", fmt.Sprintf("%x", unknown))
	}
}

func (c cases) element(p place, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	if field.Message() == nil {
		c.note(p, fmt.Sprintf("%s[%v]", nameOf(field), value), "present")
		return
	}
	message := value.Message()
	if kind, ok := kinds[field.Message().FullName()]; ok && !isMapEntry(message) {
		name := p.scope + "." + key(message)
		c.walk(place{title: kind + " " + name, scope: name}, message)
		return
	}
	c.walk(p.in(fmt.Sprintf("%s[%s]", nameOf(field), key(message))), message)
}

// A map entry is no type that anyone wrote: it belongs to the message with the map.
func isMapEntry(message protoreflect.Message) bool {
	descriptor, ok := message.Interface().(*descriptorpb.DescriptorProto)
	return ok && descriptor.GetOptions().GetMapEntry()
}

// What tells an element of a list from its neighbours: its name, or for the ranges, which have none, all they hold.
func key(message protoreflect.Message) string {
	if name := message.Descriptor().Fields().ByName("name"); name != nil {
		return message.Get(name).String()
	}
	var all []string
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		all = append(all, message.Get(fields.Get(i)).String())
	}
	return strings.Join(all, "-")
}

func nameOf(field protoreflect.FieldDescriptor) string {
	if field.IsExtension() {
		return string(field.FullName())
	}
	return string(field.Name())
}

func text(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	if field.Enum() != nil {
		if named := field.Enum().Values().ByNumber(value.Enum()); named != nil {
			return named.Name()
		}
	}
	return value
}

func differences(ours, theirs facts) []string {
	if ours == nil {
		return []string{"missing here"}
	}
	if theirs == nil {
		return []string{"not upstream"}
	}
	var found []string
	for _, path := range sortedKeys(ours, theirs) {
		here, isHere := ours[path]
		there, isThere := theirs[path]
		switch {
		case !isHere:
			found = append(found, fmt.Sprintf("%s = %s is missing here", path, there))
		case !isThere:
			found = append(found, fmt.Sprintf("%s = %s is not upstream", path, here))
		case here != there:
			found = append(found, fmt.Sprintf("%s = %s, upstream has %s", path, here, there))
		}
	}
	return found
}

func sortedKeys[Value any, Map ~map[string]Value](both ...Map) []string {
	all := map[string]bool{}
	for _, one := range both {
		for name := range one {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Prints a line for each case, and below it what differs.
func compare(ours, theirs cases) (passed, failed int) {
	for _, title := range sortedKeys(ours, theirs) {
		found := differences(ours[title], theirs[title])
		if len(found) == 0 {
			passed++
			fmt.Println("ok  ", title)
			continue
		}
		failed++
		fmt.Println("FAIL", title)
		for _, difference := range found {
			fmt.Println("    ", difference)
		}
	}
	return passed, failed
}

func read(path string) (map[string]*descriptorpb.FileDescriptorProto, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(bytes, &set); err != nil {
		return nil, err
	}
	files := map[string]*descriptorpb.FileDescriptorProto{}
	for _, file := range set.File {
		files[file.GetName()] = file
	}
	return files, nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: proto-compare DESCRIPTOR-SET   (of protoc --descriptor_set_out)")
		os.Exit(2)
	}
	files, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "proto-compare:", err)
		os.Exit(2)
	}
	passed, failed := 0, 0
	for _, name := range sortedKeys(upstream) {
		ours, title := cases{}, "file "+name
		if files[name] != nil {
			ours = casesOf(files[name], title)
		}
		good, bad := compare(ours, casesOf(protodesc.ToFileDescriptorProto(upstream[name]), title))
		passed, failed = passed+good, failed+bad
	}
	fmt.Printf("%d passed, %d failed, 0 skipped\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
