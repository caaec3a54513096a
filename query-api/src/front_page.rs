//! The page at `/` of the read port.

use service::config::PublicUrl;
use service::front_page::{FrontPage, READ_API};

/// The page, with the URLs under which clients reach both ports.
pub fn front_page(write_url: &PublicUrl, read_url: &PublicUrl) -> FrontPage {
    // In the shell that has played the first half, TOKEN is the application that it has made.
    let demo = format!(
        "READ={read_url}/api/v1/chat_applications\n\
         curl $READ\n\
         TOKEN=${{TOKEN:-$(curl -s $READ | grep -o '[0-9a-f]\\{{32\\}}' | head -n 1)}}\n\
         curl $READ/$TOKEN/chats/1/messages\n\
         curl \"$READ/$TOKEN/chats/1/messages/search?q=STRASSE\"\n"
    );
    let description = "Here applications, chats and messages are read and searched. They are made at the other port. Where keys are required, each command needs \
                       -H 'Authorization: Bearer KEY' too.";
    FrontPage::new(READ_API, description, ("The write API (run its demo first)", write_url), demo)
}
