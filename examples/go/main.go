// The demo of Tally's README with generated clients.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"os"

	"example.invalid/tally/readapi"
	"example.invalid/tally/writeapi"
)

const text = "Hello, Straße! 🚀"

func main() {
	if err := play(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func play(ctx context.Context) error {
	write, err := writeapi.NewClientWithResponses(
		url("WRITE_URL", "http://127.0.0.1:8080"), writeapi.WithRequestEditorFn(addKey))
	if err != nil {
		return err
	}
	read, err := readapi.NewClientWithResponses(
		url("READ_URL", "http://127.0.0.1:3000"), readapi.WithRequestEditorFn(addKey))
	if err != nil {
		return err
	}

	fields := writeapi.ApplicationFields{Name: "Support"}
	created, err := write.CreateApplicationWithResponse(
		ctx, nil, writeapi.ApplicationRequest{ChatApplication: fields})
	if err != nil {
		return err
	}
	if created.JSON201 == nil {
		return refused(created.HTTPResponse, created.Body)
	}
	token := created.JSON201.Token
	fmt.Printf("created %+v\n", *created.JSON201)

	chat, err := write.CreateChatWithResponse(ctx, token, nil)
	if err != nil {
		return err
	}
	if chat.JSON201 == nil {
		return refused(chat.HTTPResponse, chat.Body)
	}
	number := chat.JSON201.Number

	// A retry with the same key is the same message.
	key, author := rand.Text(), "alice"
	message := writeapi.MessageRequest{Message: writeapi.MessageFields{Body: text, Author: &author}}
	var position string
	for range 2 {
		posted, err := write.PostMessageWithResponse(
			ctx, token, number, &writeapi.PostMessageParams{IdempotencyKey: &key}, message)
		if err != nil {
			return err
		}
		if posted.JSON201 == nil {
			return refused(posted.HTTPResponse, posted.Body)
		}
		if posted.JSON201.Number != 1 {
			return fmt.Errorf("the message is number %d", posted.JSON201.Number)
		}
		position = posted.HTTPResponse.Header.Get("Log-Position")
		fmt.Printf("posted %+v\n", *posted.JSON201)
	}

	return show(ctx, read, token, number, position)
}

// show reads what was written: a read that awaits the position of a write shows it.
func show(ctx context.Context, read *readapi.ClientWithResponses, token string, chat int64, position string) error {
	include := "author"
	listed, err := read.ListMessagesWithResponse(
		ctx, token, chat, &readapi.ListMessagesParams{Include: &include, AwaitPosition: &position})
	if err != nil {
		return err
	}
	if listed.JSON200 == nil {
		return refused(listed.HTTPResponse, listed.Body)
	}
	if messages := *listed.JSON200; len(messages) != 1 || messages[0].Body != text || *messages[0].Author != "alice" {
		return fmt.Errorf("the list is %s", listed.Body)
	}
	fmt.Printf("listed %s", listed.Body)

	found, err := read.SearchMessagesWithResponse(
		ctx, token, chat, &readapi.SearchMessagesParams{Q: "STRASSE", AwaitPosition: &position})
	if err != nil {
		return err
	}
	if found.JSON200 == nil {
		return refused(found.HTTPResponse, found.Body)
	}
	if messages := *found.JSON200; len(messages) != 1 || messages[0].Number != 1 {
		return fmt.Errorf("the search finds %s", found.Body)
	}
	fmt.Printf("found %s", found.Body)

	application, err := read.GetApplicationWithResponse(
		ctx, token, &readapi.GetApplicationParams{AwaitPosition: &position})
	if err != nil {
		return err
	}
	if application.JSON200 == nil {
		return refused(application.HTTPResponse, application.Body)
	}
	if application.JSON200.ChatsCount != 1 {
		return fmt.Errorf("the application is %s", application.Body)
	}
	fmt.Printf("shown %s", application.Body)
	return nil
}

// addKey adds the credential; an open server needs none.
func addKey(_ context.Context, request *http.Request) error {
	if key, ok := os.LookupEnv("API_KEY"); ok {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	return nil
}

func url(variable, otherwise string) string {
	if value, ok := os.LookupEnv(variable); ok {
		return value
	}
	return otherwise
}

func refused(response *http.Response, body []byte) error {
	return fmt.Errorf("%s: %s", response.Status, body)
}
