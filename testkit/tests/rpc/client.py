"""Load, look, unload, and errors, as a client of the v0.5 line writes them.

Arguments: the socket, an object with the program xdp_verdict, an interface.
"""

import sys

import grpc

import bpfman_pb2 as pb
import bpfman_pb2_grpc as services

socket, path, iface = sys.argv[1:]
# grpcio would send the path, percent-encoded, as the authority, which the HTTP/2 library of tonic
# refuses, as it did in the v0.5 line.
options = [("grpc.default_authority", "localhost")]
channel = grpc.insecure_channel("unix://" + socket, options)
bpfman = services.BpfmanStub(channel)

request = pb.LoadRequest(
    bytecode=pb.BytecodeLocation(file=path),
    name="xdp_verdict",
    program_type=6,
    attach=pb.AttachInfo(
        xdp_attach_info=pb.XDPAttachInfo(
            priority=50, iface=iface, position=0, proceed_on=[2, 31]
        )
    ),
    metadata={"owner": "acme"},
    global_data={"verdict": b"\x02\x00\x00\x00"},
    uuid="c0ffee",
)
loaded = bpfman.Load(request, timeout=300)
program = loaded.kernel_info.id
assert loaded.info.name == "xdp_verdict", loaded
assert loaded.kernel_info.program_type == 6, loaded

found = bpfman.List(
    pb.ListRequest(
        program_type=6,
        bpfman_programs_only=True,
        match_metadata={"bpfman.io/uuid": "c0ffee"},
    )
)
assert [result.kernel_info.id for result in found.results] == [program], found
got = bpfman.Get(pb.GetRequest(id=program))
assert got.info == loaded.info, got
assert got.HasField("info")
assert got.info.attach.WhichOneof("info") == "xdp_attach_info", got
assert list(got.info.attach.xdp_attach_info.proceed_on) == [2, 31], got
assert got.info.global_data["verdict"] == b"\x02\x00\x00\x00", got
assert got.info.bytecode.file == path, got
assert list(got.info.map_used_by) == [str(program)], got
bpfman.Unload(pb.UnloadRequest(id=program))


def refused(call, request, code, *words):
    """The call must fail with the code, and a message that has the words."""
    try:
        call(request, timeout=300)
    except grpc.RpcError as error:
        assert error.code() == code, error
        for word in words:
            assert word in error.details(), error
    else:
        raise AssertionError(f"{request} was not refused")


code = grpc.StatusCode
refused(bpfman.Get, pb.GetRequest(id=program), code.NOT_FOUND, str(program))
refused(bpfman.Unload, pb.UnloadRequest(id=program), code.NOT_FOUND, str(program))
request.attach.xdp_attach_info.iface = iface + "x"
refused(bpfman.Load, request, code.NOT_FOUND, iface + "x", "\nhint: did you mean")
request.program_type = 3
refused(bpfman.Load, request, code.INVALID_ARGUMENT, "set 6")
image = pb.BytecodeImage(url="127.0.0.1:1/a", image_pull_policy=2)
refused(bpfman.PullBytecode, pb.PullBytecodeRequest(image=image), code.NOT_FOUND, "Never")
print("all is well")
