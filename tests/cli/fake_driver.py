"""
A CSI driver that does what the tests tell it: for each method a list of answers, taken one after the other, the last
one again and again.  An answer is a function of the request and the gRPC context.
"""
import concurrent.futures
import importlib
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).parents[2] / "proto"


def compile_proto():
    directory = tempfile.mkdtemp(dir=pathlib.Path("/run"))
    assert protoc.main(["protoc", f"-I{PROTO}", "-I/usr/include", f"--python_out={directory}", "csi.proto"]) == 0
    sys.path.insert(0, directory)
    return importlib.import_module("csi_pb2")


csi = compile_proto()


def refuse(code, words):
    """An answer that is an error."""
    return lambda request, context: context.abort(getattr(grpc.StatusCode, code), words)


class FakeDriver(grpc.GenericRpcHandler):
    def __init__(self, endpoint):
        self.endpoint, self.answers, self.calls = endpoint, {}, []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[self])
        self.server.add_insecure_port(endpoint)
        self.server.start()
        self.says("GetPluginInfo", csi.GetPluginInfoResponse(name="fake.driver", vendor_version="1"))
        self.says("NodeGetInfo", csi.NodeGetInfoResponse(node_id="node-7"))

    def says(self, method, *answers):
        self.answers[method] = list(answers)

    def can(self, controller=(), node=()):
        rpc = csi.ControllerServiceCapability.RPC
        self.says("ControllerGetCapabilities", csi.ControllerGetCapabilitiesResponse(capabilities=[
            csi.ControllerServiceCapability(rpc=rpc(type=rpc.Type.Value(name))) for name in controller]))
        rpc = csi.NodeServiceCapability.RPC
        self.says("NodeGetCapabilities", csi.NodeGetCapabilitiesResponse(capabilities=[
            csi.NodeServiceCapability(rpc=rpc(type=rpc.Type.Value(name))) for name in node]))

    def called(self, *methods):
        """The requests of these methods, in order, as (method, request)."""
        return [(name, request) for name, request in self.calls if name in methods]

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        if method not in self.answers:
            return None  # UNIMPLEMENTED

        def answer(request, context):
            self.calls.append((method, request))
            say = self.answers[method]
            this = say.pop(0) if len(say) > 1 else say[0]
            return this(request, context) if callable(this) else this

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=getattr(csi, method + "Request").FromString,
            response_serializer=lambda message: message.SerializeToString())

    def stop(self):
        self.server.stop(None).wait()
