"""The same ONNX model, the same bytes: tf2onnx and onnxruntime order and name nodes differently in every process."""

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

INPUT = "image"
OUTPUTS = ("logits", "class_map")  # the first always, the second if there is one
IR_VERSION = 8  # of opset 17; onnxruntime reads it since 1.12


def canonical(model: ModelProto) -> ModelProto:
    """The model with nodes in depth-first order from the outputs, everything named by its place, and no notes.

    The order of a node's inputs is part of ONNX's meaning, so that walk is the same however the nodes were listed. Unused
    nodes, weights and operator sets are dropped. Takes graphs with the outputs of a bundle and no subgraphs; raises ValueError
    otherwise.
    """
    graph = model.graph
    if not 1 <= len(graph.output) <= len(OUTPUTS) or any(
        _subgraph(attribute) for node in graph.node for attribute in node.attribute
    ):
        raise ValueError("only graphs of logits, with a map or without, and without control flow can be ordered")
    nodes, weights = _in_order(graph)
    names = _new_names(graph, nodes, weights)
    ordered = GraphProto(name="limiar")
    for index, node in enumerate(nodes):
        ordered.node.append(_renamed(node, f"{node.op_type}_{index}", names))
    for weight in weights:
        ordered.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weight), names[weight.name]))
    for given in graph.input:
        ordered.input.append(onnx.helper.make_value_info(names[given.name], given.type))
    for output in graph.output:
        ordered.output.append(onnx.helper.make_value_info(names[output.name], output.type))
    domains = {node.domain for node in nodes}
    opsets = sorted((opset for opset in model.opset_import if opset.domain in domains), key=lambda opset: opset.domain)
    return onnx.helper.make_model(ordered, opset_imports=opsets, ir_version=IR_VERSION, producer_name="limiar")


def _in_order(graph: GraphProto) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes and weights that the outputs need, each after what it needs itself; with a stack, for deep models."""
    maker = {name: node for node in graph.node for name in node.output}
    weights = {weight.name: weight for weight in graph.initializer}
    given = {value.name for value in graph.input} - set(weights)
    nodes: list[NodeProto] = []
    used: list[TensorProto] = []
    done: set[str] = given | {""}  # "" is an optional input that is left out
    stack = [output.name for output in reversed(graph.output)]
    while stack:
        name = stack[-1]
        if name in done:
            stack.pop()
        elif name in weights:
            used.append(weights[name])
            done.add(name)
        else:
            node = maker[name]
            missing = [needed for needed in node.input if needed not in done]
            stack.extend(reversed(missing))
            if not missing:
                nodes.append(node)
                done.update(node.output)
    return nodes, used


def _new_names(graph: GraphProto, nodes: list[NodeProto], weights: list[TensorProto]) -> dict[str, str]:
    names = {"": ""}
    single = len(graph.input) == 1
    names |= {given.name: INPUT if single else f"{INPUT}_{index}" for index, given in enumerate(graph.input)}
    names |= {weight.name: f"weight_{index}" for index, weight in enumerate(weights)}
    values = [name for node in nodes for name in node.output if name]
    names |= {name: f"value_{index}" for index, name in enumerate(values)}
    return names | {output.name: name for output, name in zip(graph.output, OUTPUTS, strict=False)}


def _renamed(node: NodeProto, name: str, names: dict[str, str]) -> NodeProto:
    inputs, outputs = [names[given] for given in node.input], [names[output] for output in node.output]
    renamed = NodeProto(op_type=node.op_type, domain=node.domain, name=name, input=inputs, output=outputs)
    for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
        renamed.attribute.add().CopyFrom(attribute)
        renamed.attribute[-1].ClearField("doc_string")
    return renamed


def _subgraph(attribute: AttributeProto) -> bool:
    return attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS)
