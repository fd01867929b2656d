// Command peer does the job of the gate with grpc-go, as a team would write it in a day: it knows
// keys by their SHA-256, checks expiry and scopes, and answers with identity headers and metadata.
//
//	peer KEYS
//
// KEYS has one JSON object a line; see entry. It prints its address, and serves until it is killed.
// It has no store, no revocation, no limits and no counts. It is a measure of the gate's speed.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

// entry is a line of the file. ExpiresAt is in seconds since the epoch.
type entry struct {
	Key, Kid, Client, Env string
	Scopes                []string
	ExpiresAt             int64 `json:"expires_at"`
}

type key struct {
	entry
	allow *authv3.CheckResponse
}

type server struct {
	authv3.UnimplementedAuthorizationServer
	keys map[[sha256.Size]byte]*key
}

func (s *server) Check(_ context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := request.GetAttributes()
	text := attributes.GetRequest().GetHttp().GetHeaders()["x-api-key"]
	found := s.keys[sha256.Sum256([]byte(text))]
	if found == nil || time.Now().Unix() >= found.ExpiresAt {
		return deny(codes.Unauthenticated, typev3.StatusCode_Unauthorized), nil
	}
	for _, scope := range strings.Fields(attributes.GetContextExtensions()["scopes"]) {
		if !slices.Contains(found.Scopes, scope) {
			return deny(codes.PermissionDenied, typev3.StatusCode_Forbidden), nil
		}
	}
	return found.allow, nil
}

func deny(code codes.Code, status typev3.StatusCode) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &statuspb.Status{Code: int32(code)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: status}},
		},
	}
}

// allow makes the answer once for each key, which favours this server.
func allow(of entry) (*authv3.CheckResponse, error) {
	metadata, err := structpb.NewStruct(map[string]any{"key_id": of.Kid, "client_id": of.Client})
	if err != nil {
		return nil, err
	}
	var headers []*corev3.HeaderValueOption
	for name, value := range map[string]string{
		"x-auth-key-id": of.Kid, "x-auth-client-id": of.Client,
		"x-auth-scopes": strings.Join(of.Scopes, " "), "x-auth-env": of.Env,
	} {
		headers = append(headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return &authv3.CheckResponse{
		Status: &statuspb.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: headers, HeadersToRemove: []string{"x-api-key"},
		}},
		DynamicMetadata: metadata,
	}, nil
}

func load(path string) (map[[sha256.Size]byte]*key, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	keys := map[[sha256.Size]byte]*key{}
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return keys, lines.Err()
		}
		var one key
		if err := json.Unmarshal(lines.Bytes(), &one.entry); err != nil {
			return nil, err
		}
		if one.allow, err = allow(one.entry); err != nil {
			return nil, err
		}
		keys[sha256.Sum256([]byte(one.Key))] = &one
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: peer KEYS")
	}
	keys, err := load(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	authv3.RegisterAuthorizationServer(grpcServer, &server{keys: keys})
	fmt.Println(listener.Addr())
	log.Fatal(grpcServer.Serve(listener))
}
